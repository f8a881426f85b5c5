"""The trail for people to read. Nobody changes it here; every page costs the same at any size."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import get_language

from audit.models import DeadLetter, Event
from audit.registry import ACTIONS

PAGE_ROWS = 50
#: Older rows are found by a filter or a search, not by leafing.
PAGES = 20


class FirstPages(Paginator):
    """Knows at most `PAGES` pages: it reads that many keys of the index and counts no rows."""

    @cached_property
    def count(self) -> int:
        keys: QuerySet[Any, Any] = self.object_list.values_list("pk", flat=True)  # type: ignore[attr-defined]
        return len(keys[: PAGE_ROWS * PAGES])


class ActionFilter(admin.SimpleListFilter):
    """The registry's actions in words, so that no query looks for the values that occur."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        spanish = (get_language() or "").startswith("es")
        return [(name, action.es if spanish else action.en) for name, action in ACTIONS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class ReadOnlyAdmin(admin.ModelAdmin):
    paginator = FirstPages
    list_per_page = PAGE_ROWS
    list_max_show_all = PAGE_ROWS
    show_full_result_count = False
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("at", "action", "outcome", "severity", "subject", "actor", "tenant", "address")
    list_filter = (ActionFilter,)
    ordering = ("-id",)
    sortable_by = ()
    #: Whole values only: each of these has an index, and none of them helps a part of a word.
    search_fields = ("subject__exact", "actor__exact", "action__exact", "request_id__exact")
    search_help_text = "A whole subject, actor, action or request id."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The events of the person's tenant; all of them for a superuser who belongs to none."""
        rows = super().get_queryset(request)
        if tenant := getattr(request.user, "tenant", None):
            return rows.filter(tenant=tenant.slug)
        return rows if request.user.is_superuser else rows.none()


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("at", "source", "reason")
    ordering = ("-id",)
    sortable_by = ()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What could not be stored as an event may be of any tenant."""
        bound = getattr(request.user, "tenant_id", None)
        return bool(request.user.is_superuser) and not bound
