"""What these pages share: they change nothing, count nothing, and say who is at them."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

PAGE_ROWS = 50
#: Of lists that are short: older rows are found by a filter, not by leafing.
PAGES = 20


def actor(request: HttpRequest) -> str:
    """Who does something here, as the trail names people."""
    return f"person:{request.user.pk}"


def oversees_all(request: HttpRequest) -> bool:
    """A superuser who belongs to no tenant."""
    return bool(request.user.is_superuser) and not getattr(request.user, "tenant_id", None)


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    list_per_page = PAGE_ROWS
    list_max_show_all = PAGE_ROWS
    show_full_result_count = False
    #: Each of them would be a COUNT(*).
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FirstPages(Paginator):  # type: ignore[type-arg]
    """Knows at most `PAGES` pages: it reads that many keys of the index and counts no rows."""

    @cached_property
    def count(self) -> int:
        keys: QuerySet[Any, Any] = self.object_list.values_list("pk", flat=True)  # type: ignore[attr-defined]
        return len(keys[: PAGE_ROWS * PAGES])


class Overseen(ReadOnly):
    """What concerns all tenants: for a superuser who belongs to none."""

    paginator = FirstPages

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return oversees_all(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return oversees_all(request)
