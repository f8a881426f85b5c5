"""The trail for people to read. Nobody changes it here; every page costs the same at any size."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.timezone import localtime
from django.utils.translation import get_language
from django.views.decorators.http import require_GET

import audit
from audit import deadletters, export, retention
from audit.finding import Find
from audit.models import Day, DeadLetter, Event, Hold
from audit.registry import ACTIONS

PAGE_ROWS = 50
#: Of lists that are short: older rows are found by a filter, not by leafing.
PAGES = 20
#: A search that no index serves must not hold up those who write the trail.
LONGEST_S = 5
#: What MariaDB says of a statement that took longer.
_TIMED_OUT = 1969
#: More than that is a matter of `manage.py audit export`.
EXPORTED = 100_000
TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def actor(request: HttpRequest) -> str:
    """Who does something here, as the trail names people."""
    return f"person:{request.user.pk}"


def oversees_all(request: HttpRequest) -> bool:
    """A superuser who belongs to no tenant."""
    return bool(request.user.is_superuser) and not getattr(request.user, "tenant_id", None)


class ReadOnlyAdmin(admin.ModelAdmin):
    list_per_page = PAGE_ROWS
    list_max_show_all = PAGE_ROWS
    show_full_result_count = False
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Page(ChangeList):
    """One page of events, newest first, and where the next one begins. It counts no rows."""

    #: The id that older events are before; empty where there are none.
    older = ""

    def get_results(self, request: HttpRequest) -> None:
        rows: list[Any] = []
        try:
            with _bounded():
                rows = list(self.queryset[: PAGE_ROWS + 1])
        except OperationalError as error:
            if error.args[0] != _TIMED_OUT:
                raise
            messages.error(
                request, f"Not found in {LONGEST_S} s. Name a day, or search for less at a time."
            )
        self.result_list = rows[:PAGE_ROWS]
        self.older = rows[PAGE_ROWS - 1].pk.hex if len(rows) > PAGE_ROWS else ""
        self.result_count = self.full_result_count = len(self.result_list)
        self.paginator = Paginator(self.result_list, PAGE_ROWS)
        self.can_show_all, self.multi_page, self.show_full_result_count = False, False, False

    @property
    def older_query(self) -> str:
        return self.get_query_string({"before": self.older})

    @property
    def newest_query(self) -> str:
        return self.get_query_string(remove=["before"]) if "before" in self.params else ""

    def export_query(self) -> str:
        return self.get_query_string(remove=["before"])


@contextmanager
def _bounded() -> Iterator[None]:
    if connection.vendor != "mysql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION max_statement_time = %s", [LONGEST_S])
        try:
            yield
        finally:
            cursor.execute("SET SESSION max_statement_time = 0")


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    change_list_template = "admin/audit/event/change_list.html"
    list_display = ("when", "what", "outcome", "severity", "subject", "actor", "tenant", "address")
    list_filter = (Find,)
    #: Each of them would be a COUNT(*).
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-id",)
    actions = None
    fields = (
        *("id", "when", "what", "action", "outcome", "severity", "subject", "subject_version"),
        *("actor", "tenant", "request_id", "decision_id", "address", "agent", "said_detail"),
        *("producer", "number", "hash", "entry"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Page

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_GET(self.export))
        name = "audit_event_export"
        return [path("export/<str:form>/", view, name=name), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The events of the person's tenant; all of them for a superuser who belongs to none."""
        rows = super().get_queryset(request)
        if tenant := getattr(request.user, "tenant", None):
            return rows.filter(tenant=tenant.slug)
        return rows if request.user.is_superuser else rows.none()

    class Media:
        css: ClassVar = {"all": ["audit/find.css"]}

    @admin.display(description="time")
    def when(self, event: Event) -> str:
        return f"{localtime(event.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="what happened")
    def what(self, event: Event) -> str:
        spanish = (get_language() or "").startswith("es")
        known = ACTIONS.get(event.action)
        return (known.es if spanish else known.en) if known else event.action

    @admin.display(description="user agent")
    def agent(self, event: Event) -> str:
        return event.user_agent

    @admin.display(description="detail")
    def said_detail(self, event: Event) -> str:
        text = json.dumps(event.detail, indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)

    def export(self, request: HttpRequest, form: str) -> HttpResponse | StreamingHttpResponse:
        """What the list shows, oldest first, as a file; whoever takes it is in the trail."""
        if not self.has_view_permission(request) or form not in TYPES:
            raise PermissionDenied
        search = Find.search(request.GET)
        if tenant := getattr(request.user, "tenant", None):
            search = search.narrowed(tenant=tenant.slug)
        elif not request.user.is_superuser:
            raise PermissionDenied
        detail = {**search.told, "format": form}
        audit.record("audit.exported", actor=actor(request), detail=detail)
        lines = export.lines(search, form, most=EXPORTED)
        return StreamingHttpResponse(
            lines,
            content_type=TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="trail.{form}"'},
        )


class FirstPages(Paginator):
    """Knows at most `PAGES` pages: it reads that many keys of the index and counts no rows."""

    @cached_property
    def count(self) -> int:
        keys: QuerySet[Any, Any] = self.object_list.values_list("pk", flat=True)  # type: ignore[attr-defined]
        return len(keys[: PAGE_ROWS * PAGES])


class Overseen(ReadOnlyAdmin):
    """What concerns all tenants: for a superuser who belongs to none."""

    paginator = FirstPages

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return oversees_all(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return oversees_all(request)


class WhyForm(ActionForm):
    why = forms.CharField(required=False, max_length=200, label="Why (to drop)")


@admin.register(DeadLetter)
class DeadLetterAdmin(Overseen):
    list_display = ("at", "reason", "explanation", "source", "replays")
    list_filter = ("reason",)
    search_fields = ("source__exact",)
    search_help_text = "A whole source."
    ordering = ("-id",)
    actions = ("replay", "drop")
    action_form = WhyForm

    @admin.action(description="Try to store the selected letters again")
    def replay(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        stored = dead = 0
        for batch in deadletters.replay(letters, actor=actor(request)):
            stored, dead = stored + batch.stored, dead + batch.dead
        level = messages.WARNING if dead else messages.SUCCESS
        self.message_user(request, f"{stored} stored, {dead} still dead.", level)

    @admin.action(description="Drop the selected letters for good")
    def drop(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        why = request.POST.get("why", "").strip()
        if not why:
            self.message_user(request, "Say why: the trail keeps it.", messages.ERROR)
            return
        dropped = deadletters.drop(letters, actor=actor(request), why=why)
        self.message_user(request, f"{dropped} dropped.", messages.SUCCESS)


@admin.register(Day)
class DayAdmin(Overseen):
    """The chains of the days: how far they have come, which are closed, which are gone."""

    list_display = ("day", "height", "head_hash", "closed_at", "dropped_at")
    ordering = ("-day",)
    actions = None

    @admin.display(description="hash")
    def head_hash(self, day: Day) -> str:
        return day.hash[:16]


@admin.register(Hold)
class HoldAdmin(Overseen):
    list_display = ("first_day", "last_day", "reason", "owner", "placed_at", "released_at")
    ordering = ("-id",)
    fields = ("first_day", "last_day", "reason", "owner")
    actions = ("release",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return oversees_all(request)

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        placed = retention.place_hold(
            obj.first_day, obj.last_day, reason=obj.reason, owner=obj.owner, actor=actor(request)
        )
        obj.pk = placed.pk

    @admin.action(description="Release the selected holds")
    def release(self, request: HttpRequest, holds: QuerySet[Hold]) -> None:
        for hold in holds:
            retention.release_hold(hold, actor=actor(request))
