"""Policies and limits as admins edit them: audited, and in force everywhere within 2 s."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import BaseModelForm
from django.http import HttpRequest

import audit
from ratelimit import admin_rollouts, revision  # noqa: F401
from ratelimit.forcing import ForcingForm
from ratelimit.models import Flag, LimitRow, PolicyRow, SharedNetwork


class LimitInline(admin.TabularInline):
    model = LimitRow
    readonly_fields = ("name",)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(PolicyRow)
class PolicyAdmin(admin.ModelAdmin):
    """The numbers of a policy. Policies themselves, and what their limits count by, are code."""

    list_display = ("name", "criticality", "weight", "wait_ms", "store_away", "numbers")
    list_filter = ("criticality", "store_away")
    search_fields = ("name",)
    readonly_fields = ("name",)
    inlines = (LimitInline,)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("limits")

    @admin.display(description="limits")
    def numbers(self, policy: PolicyRow) -> str:
        return ", ".join(f"{limit.name}: {limit}" for limit in policy.limits.all())

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A policy holds for every tenant: staff may look at it, superusers change it."""
        return bool(request.user.is_superuser) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_related(
        self, request: HttpRequest, form: Any, formsets: list[Any], change: bool
    ) -> None:
        super().save_related(request, form, formsets, change)
        forms = [form, *(each for formset in formsets for each in formset.forms)]
        changes = {name: values for each in forms for name, values in _changes(each).items()}
        if changes:
            _publish(request, "policy.changed", f"policy:{form.instance.name}", changes)


@admin.register(SharedNetwork)
class SharedNetworkAdmin(admin.ModelAdmin):
    """The networks that count as many. They hold for every tenant, so superusers change them."""

    list_display = ("network", "stands_for", "note")
    search_fields = ("network", "note")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if changes := _changes(form):
            _publish(request, "network.changed", f"network:{obj}", changes)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        with transaction.atomic():
            super().delete_model(request, obj)
            _publish(request, "network.changed", f"network:{obj}", {"deleted": [str(obj), None]})

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for network in queryset:
            self.delete_model(request, network)


@admin.register(Flag)
class FlagAdmin(admin.ModelAdmin):
    """The steps that pressure takes: who may change flags forces one for a time, or releases it."""

    list_display = ("name", "level", "forced", "owner", "reason", "expires_at")
    readonly_fields = ("name", "level", "forced", "owner", "reason", "expires_at")
    fields = (*readonly_fields, "decision", "who", "why", "minutes")
    form = ForcingForm

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="from pressure on")
    def level(self, flag: Flag) -> int:
        return flag.step.level

    def save_model(self, request: HttpRequest, obj: Flag, form: Any, change: bool) -> None:
        form.decide(obj, actor=f"person:{request.user.pk}")


def _changes(form: BaseModelForm) -> dict[str, list[Any]]:
    """Each changed field with its old and new value; a limit's fields carry its name."""
    prefix = f"{form.instance.name}." if isinstance(form.instance, LimitRow) else ""
    return {
        prefix + name: [form.initial.get(name), form.cleaned_data[name]]
        for name in form.changed_data
    }


def _publish(
    request: HttpRequest, action: str, subject: str, changes: dict[str, list[Any]]
) -> None:
    with transaction.atomic():
        audit.record_with_change(
            action, subject=subject, actor=f"person:{request.user.pk}", detail=changes
        )
        revision.bump()
