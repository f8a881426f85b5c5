"""The list of events, one of them, and what is found as a file."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.timezone import localtime
from django.views.decorators.http import require_GET

import audit
from audit import bounded, days, export
from audit.admin.reading import PAGE_ROWS, ReadOnly, actor, oversees_all
from audit.entry import Unstorable
from audit.finding import Find, FindForm, in_words
from audit.models import Event
from audit.search import Search

#: More than that is a matter of `manage.py audit export`.
EXPORTED = 100_000
#: Lines that are sent at once.
SENT_LINES = 500
TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class Page(ChangeList):
    """One page of events, newest first, and where the next one begins. It counts no rows."""

    #: The id that older events are before; empty where there are none.
    older = ""
    #: How many a file takes, for the page to say.
    exported = EXPORTED

    def get_results(self, request: HttpRequest) -> None:
        rows: list[Any] = []
        try:
            with bounded.within(bounded.LONGEST_S):
                rows = list(self.queryset[: PAGE_ROWS + 1])
        except bounded.TooLong as error:
            _advise(request, error)
        self.result_list = rows[:PAGE_ROWS]
        self.older = rows[PAGE_ROWS - 1].pk.hex if len(rows) > PAGE_ROWS else ""
        self.result_count = self.full_result_count = len(rows[:PAGE_ROWS])
        self.paginator = Paginator(self.result_list, PAGE_ROWS)
        self.can_show_all, self.multi_page, self.show_full_result_count = False, False, False

    @property
    def older_query(self) -> str:
        return self.get_query_string({"before": self.older})

    @property
    def newest_query(self) -> str:
        return self.export_query if "before" in self.params else ""

    @property
    def export_query(self) -> str:
        return self.get_query_string(remove=["before"])


@admin.register(Event)
class EventAdmin(ReadOnly):
    change_list_template = "admin/audit/event/change_list.html"
    list_display = ("when", "what", "outcome", "severity", "subject", "actor", "tenant", "address")
    list_filter = (Find,)
    ordering = ("-id",)
    actions = None
    fieldsets = (
        (None, {"fields": ("when", "what", "action", "outcome", "severity")}),
        ("Of what", {"fields": ("subject", "subject_version", "tenant", "said_detail")}),
        ("By whom", {"fields": ("actor", "address", "agent", "request_id", "decision_id")}),
        ("In the chain", {"fields": ("id", "place", "hash", "producer", "said")}),
    )

    class Media:
        css: ClassVar = {"all": ["audit/find.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Page]:
        return Page

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_GET(self.export))
        name = "audit_event_export"
        return [path("export/<str:form>/", view, name=name), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The events of the person's tenant; all of them for a superuser who belongs to none."""
        rows = super().get_queryset(request)
        if oversees_all(request):
            return rows
        slug = _tenant(request)
        return Search({"tenant": slug}).among(rows) if slug else rows.none()

    @admin.display(description="time")
    def when(self, event: Event) -> str:
        return f"{localtime(event.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="what happened")
    def what(self, event: Event) -> str:
        return in_words(event.action)

    @admin.display(description="user agent")
    def agent(self, event: Event) -> str:
        return _read(event, "user_agent")

    @admin.display(description="detail")
    def said_detail(self, event: Event) -> str:
        return format_html('<pre class="audit-text">{}</pre>', _read(event, "detail"))

    @admin.display(description="number")
    def place(self, event: Event) -> str:
        return f"{event.number} of {days.of(event.pk.hex)}"

    @admin.display(description="entry")
    def said(self, event: Event) -> str:
        return format_html('<pre class="audit-text">{}</pre>', event.entry)

    def export(
        self, request: HttpRequest, form: str
    ) -> HttpResponse | HttpResponseRedirect | StreamingHttpResponse:
        """What the list shows, oldest first, as a file; whoever takes it is in the trail.

        Where there is nothing to be found by, or it takes too long, the list says so.
        """
        tenant = _tenant(request)
        may = self.has_view_permission(request) and (tenant or oversees_all(request))
        if not may or form not in TYPES:
            raise PermissionDenied
        asked = FindForm(request.GET)
        back = HttpResponseRedirect(
            f"{reverse('admin:audit_event_changelist')}?{urlencode(request.GET.dict())}"
        )
        if not asked.is_valid():
            return back
        search = asked.search().narrowed(**({"tenant": tenant} if tenant else {}))
        try:
            lines = export.lines(search, form, EXPORTED, bounded.LONGEST_S)
        except bounded.TooLong as error:
            _advise(request, error)
            return back
        detail = {**search.told, "format": form}
        audit.record("audit.exported", actor=actor(request), tenant=tenant, detail=detail)
        return StreamingHttpResponse(
            _pieces(lines),
            content_type=TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="trail.{form}"'},
        )


def _tenant(request: HttpRequest) -> str:
    """Whose events alone the person sees; empty where it is nobody's, or everybody's."""
    tenant = getattr(request.user, "tenant", None)
    return tenant.slug if tenant else ""


def _advise(request: HttpRequest, error: bounded.TooLong) -> None:
    messages.error(request, f"{error} Name a day, or search for less at a time.")


def _read(event: Event, name: str) -> str:
    try:
        said = event.said[name]
    except Unstorable as error:
        # Somebody wrote over it: the row must be seen all the same.
        return f"The entry cannot be read: {error}"
    return said if isinstance(said, str) else json.dumps(said, indent=2, ensure_ascii=False)


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    while piece := "".join(islice(lines, SENT_LINES)):
        yield piece
