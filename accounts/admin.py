"""The admin of accounts: whatever is changed here is audited and holds everywhere within 2 s."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

import audit
from accounts import keys
from accounts.models import ApiKey, Client, KeyringKey, Plan, Scope, Tenant, User
from ratelimit import revision


def actor(request: HttpRequest) -> str:
    """The person at the admin, as the trail names people."""
    return f"person:{request.user.pk}"


class AuditedAdmin(admin.ModelAdmin):
    """Records every change with the change itself, and tells every process of it.

    The hooks are those of Django's own admin log, so that actions, imports and password changes
    cannot pass beside them.
    """

    audit_action = ""
    #: Whether processes keep what is changed here in their snapshot.
    in_snapshot = True

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, obj, "added")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, obj, "changed", message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        with transaction.atomic():
            for obj in queryset:
                self._record(request, obj, "deleted")
        return super().log_deletions(request, queryset)

    def _record(self, request: HttpRequest, obj: Model, what: str, message: Any = None) -> None:
        with transaction.atomic():
            audit.record_with_change(
                self.audit_action,
                subject=f"{obj._meta.model_name}:{obj.pk}",
                actor=actor(request),
                detail={"what": what, "name": str(obj), "fields": _changed_fields(message)},
            )
            if self.in_snapshot:
                revision.bump()


def _changed_fields(message: Any) -> list[Any]:
    if not isinstance(message, list):
        return []
    return [name for part in message for name in part.get("changed", {}).get("fields", [])]


@admin.register(Plan)
class PlanAdmin(AuditedAdmin):
    audit_action = "plan.changed"
    list_display = ("name", "per_minute", "per_hour", "per_day")
    search_fields = ("name__startswith",)


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    audit_action = "tenant.changed"
    list_display = ("slug", "name", "plan", "created_at")
    list_select_related = ("plan",)
    list_filter = ("plan",)
    search_fields = ("slug__startswith", "name__startswith")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A tenant takes all its subscribers and devices along: nobody deletes that by a click."""
        return False


@admin.register(Client)
class ClientAdmin(AuditedAdmin):
    audit_action = "client.changed"
    list_display = ("client_id", "name", "tenant", "default_for_host", "active")
    list_select_related = ("tenant",)
    list_filter = ("active",)
    search_fields = ("client_id__startswith",)
    autocomplete_fields = ("tenant",)


class PersonAdmin(AuditedAdmin):
    """Accounts and groups decide who is staff, so their changes are audited as such."""

    audit_action = "person.changed"
    in_snapshot = False


@admin.register(User)
class UserAdmin(PersonAdmin, DjangoUserAdmin):
    list_display = ("username", "tenant", "email", "is_staff", "is_active", "last_login")
    list_select_related = ("tenant",)
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("username__startswith", "email__startswith")
    autocomplete_fields = ("tenant",)
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), ("Tenant", {"fields": ("tenant",)}))
    add_fieldsets = (*DjangoUserAdmin.add_fieldsets, ("Tenant", {"fields": ("tenant",)}))

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(PersonAdmin, DjangoGroupAdmin):
    pass


class NewKeyForm(forms.ModelForm):
    """What a new key may do. Its text is made by us and shown after saving."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=forms.CheckboxSelectMultiple, required=False
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys are made and revoked, never edited or deleted: the trail speaks of them."""

    list_display = ("prefix", "name", "tenant", "scopes", "created_at", "expires_at", "revoked_at")
    list_select_related = ("tenant",)
    list_filter = ("tenant", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("prefix__startswith", "name__startswith")
    autocomplete_fields = ("tenant",)
    actions = ("revoke_keys",)
    form = NewKeyForm
    change_form_template = "admin/accounts/apikey/change.html"

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return () if obj is None else self.list_display

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return NewKeyForm.Meta.fields if obj is None else self.list_display

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not change:
            made, obj.text = keys.create(  # type: ignore[attr-defined]
                obj.tenant, obj.name, obj.scopes, obj.expires_at, actor=actor(request)
            )
            obj.pk, obj.prefix = made.pk, made.prefix

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only page that ever shows the key: not stored, not cached, not a redirect."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The key was created",
            "opts": self.opts,
            "original": obj,
            "key": obj.text,  # type: ignore[attr-defined]
        }
        page = TemplateResponse(request, "admin/accounts/apikey/created.html", context)
        page["Cache-Control"] = "no-store"
        return page

    def get_urls(self) -> list[Any]:
        revoke = self.admin_site.admin_view(self.revoke_view)
        name = "accounts_apikey_revoke"
        return [path("<int:key_id>/revoke/", revoke, name=name), *super().get_urls()]

    def revoke_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """The button of a key's page."""
        if request.method == "POST" and self.has_change_permission(request):
            self.revoke_keys(request, ApiKey.objects.filter(pk=key_id))
        return HttpResponseRedirect(reverse("admin:accounts_apikey_change", args=[key_id]))

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke what is not revoked yet; each key with its own record."""
        with transaction.atomic():
            chosen = list(queryset.select_related("tenant"))
            revoked = [keys.revoke(key, actor=actor(request)) for key in chosen]
        messages.success(request, f"{sum(revoked)} of {len(chosen)} keys revoked.")


@admin.register(KeyringKey)
class KeyringAdmin(admin.ModelAdmin):
    """To look at. What seals them never leaves the process, so it is not on the page either."""

    list_display = ("kid", "purpose", "state", "created_at")
    list_filter = ("purpose", "state")
    fields = ("kid", "purpose", "state", "public", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
