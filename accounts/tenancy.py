"""Whose rows a person sees in the admin, and who may change what all tenants share."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest

from accounts.models import Tenant, User


def of_tenant(rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
    """The rows of the person's tenant; all of them for a superuser who belongs to no tenant."""
    person = cast(User, request.user)
    if person.tenant_id:
        return rows.filter(**{"pk" if rows.model is Tenant else "tenant": person.tenant_id})
    return rows if person.is_superuser else rows.none()


def oversees_all(request: HttpRequest) -> bool:
    """Whether the person is a superuser who belongs to no tenant."""
    person = cast(User, request.user)
    return person.is_superuser and not person.tenant_id


class OfTenant(admin.ModelAdmin):  # type: ignore[type-arg]
    """A person sees, finds and chooses the rows of his tenant only."""

    show_full_result_count = False
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return of_tenant(super().get_queryset(request), request)

    def get_list_filter(self, request: HttpRequest) -> tuple[Any, ...]:
        filters = tuple(super().get_list_filter(request))
        return filters if cast(User, request.user).tenant_id else (*filters, "tenant")

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        columns = tuple(super().get_list_display(request))
        return columns if cast(User, request.user).tenant_id else (*columns, "tenant")

    def get_autocomplete_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Who has one tenant to choose needs no search, nor the permission to look at tenants."""
        fields = tuple(super().get_autocomplete_fields(request))
        bound = cast(User, request.user).tenant_id
        return tuple(name for name in fields if name != "tenant") if bound else fields

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Autocomplete lists only what may be seen; this refuses a foreign id that was posted."""
        rows = db_field.related_model._default_manager.all()
        kwargs["queryset"] = of_tenant(rows, request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class Shared(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that hold for every tenant: staff may look at them, superusers edit them."""

    def may_edit(self, request: HttpRequest) -> bool:
        return cast(User, request.user).is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.may_edit(request) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may_edit(request) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may_edit(request) and super().has_delete_permission(request, obj)
