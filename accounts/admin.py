"""The admin of accounts: whatever is changed here is audited and holds everywhere within 2 s."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

import audit
from accounts import keys
from accounts.models import ApiKey, Client, KeyringKey, Plan, Scope, Tenant, User
from accounts.tenancy import OfTenant, Shared, of_tenant, oversees_all
from ratelimit import revision


def actor(request: HttpRequest) -> str:
    """The person at the admin, as the trail names people."""
    return f"person:{request.user.pk}"


class AuditedAdmin(admin.ModelAdmin):
    """Records every change with the change itself, and tells every process of it.

    Additions and changes are heard of where Django's own admin log hears of them, so that actions
    and password changes cannot pass beside. Deletions are not: Django logs those of a list before
    it deletes, in another transaction.
    """

    audit_action = ""
    #: What the trail calls such a row; else its model's name.
    audit_noun = ""
    #: Whether processes keep what is changed here in their snapshot.
    in_snapshot = True

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, obj, "added")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, obj, "changed", message)
        return super().log_change(request, obj, message)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        with transaction.atomic():
            self._record(request, obj, "deleted")
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for obj in queryset:
                self._record(request, obj, "deleted")
            super().delete_queryset(request, queryset)

    def _record(self, request: HttpRequest, obj: Model, what: str, message: Any = None) -> None:
        with transaction.atomic():
            audit.record_with_change(
                self.audit_action,
                subject=f"{self.audit_noun or obj._meta.model_name}:{obj.pk}",
                actor=actor(request),
                tenant=_slug(obj),
                detail={"what": what, "name": str(obj), "fields": _changed_fields(message)},
            )
            if self.in_snapshot:
                revision.bump()


def _slug(obj: Model) -> str:
    """The tenant the object is of, as the trail names it; empty for what all tenants share."""
    tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
    return tenant.slug if tenant else ""


def _changed_fields(message: Any) -> list[Any]:
    if not isinstance(message, list):
        return []
    return [name for part in message for name in part.get("changed", {}).get("fields", [])]


@admin.register(Plan)
class PlanAdmin(AuditedAdmin, Shared):
    audit_action = "plan.changed"
    list_display = ("name", "per_minute", "per_hour", "per_day")
    search_fields = ("name__startswith",)


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin, Shared):
    """A tenant's plan says how much it may ask for, so its staff cannot choose it."""

    audit_action = "tenant.changed"
    list_display = ("slug", "name", "plan", "created_at")
    list_select_related = ("plan",)
    list_filter = ("plan",)
    search_fields = ("slug__startswith", "name__startswith")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return of_tenant(super().get_queryset(request), request)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The trail finds a tenant's events by its slug: whoever sees only his own keeps it."""
        return () if oversees_all(request) else ("slug",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return oversees_all(request) and super().has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A tenant takes all its subscribers and devices along: nobody deletes that by a click."""
        return False


@admin.register(Client)
class ClientAdmin(AuditedAdmin, OfTenant):
    audit_action = "client.changed"
    list_display = ("client_id", "name", "default_for_host", "active")
    list_select_related = ("tenant",)
    list_filter = ("active",)
    search_fields = ("client_id__startswith",)
    autocomplete_fields = ("tenant",)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Who claims a host, or every other host, gets the devices that name no client."""
        return () if cast(User, request.user).is_superuser else ("default_for_host",)


class PersonAdmin(AuditedAdmin):
    """Accounts and groups decide who is staff, so their changes are audited as such."""

    audit_action = "person.changed"
    in_snapshot = False


#: What gives a person power, or takes him to another tenant.
POWERS = ("is_superuser", "groups", "user_permissions", "tenant")


@admin.register(User)
class UserAdmin(PersonAdmin, OfTenant, DjangoUserAdmin):
    """Staff of a tenant look after its people, but give nobody power, themselves included."""

    audit_noun = "person"
    list_display = ("username", "email", "is_staff", "is_active", "last_login")
    list_select_related = ("tenant",)
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("username__startswith", "email__startswith")
    autocomplete_fields = ("tenant",)
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), ("Tenant", {"fields": ("tenant",)}))
    add_fieldsets = (*DjangoUserAdmin.add_fieldsets, ("Tenant", {"fields": ("tenant",)}))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        if obj is None and not oversees_all(request):
            return DjangoUserAdmin.add_fieldsets
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return () if oversees_all(request) else POWERS

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change and not oversees_all(request):
            obj.tenant_id = cast(User, request.user).tenant_id
        super().save_model(request, obj, form, change)

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


def _may_touch(request: HttpRequest, other: Model | None) -> bool:
    """Nobody sets the password of a person who may do more than he may himself."""
    person = cast(User, request.user)
    if other is None or person.is_superuser:
        return True
    assert isinstance(other, User)
    # Asked of the tables: a person who is not active has no permissions, but may have them again.
    held = Permission.objects.filter(Q(user=other) | Q(group__user=other))
    names = held.values_list("content_type__app_label", "codename")
    return not other.is_superuser and person.has_perms([".".join(name) for name in names])


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(PersonAdmin, Shared, DjangoGroupAdmin):
    """A group is one for all tenants, and whoever changes his own gives himself power."""

    def may_edit(self, request: HttpRequest) -> bool:
        return oversees_all(request)


class NewKeyForm(forms.ModelForm):
    """What a new key may do. Its text is made by us and shown after saving."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=forms.CheckboxSelectMultiple, required=False
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "expires_at")


SHOWN_OF_A_KEY = ("prefix", "name", "tenant", "scopes", "created_at", "expires_at", "revoked_at")


@admin.register(ApiKey)
class ApiKeyAdmin(OfTenant):
    """Keys are made and revoked, never edited or deleted: the trail speaks of them."""

    list_display = ("prefix", "name", "scopes", "created_at", "expires_at", "revoked_at")
    list_select_related = ("tenant",)
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("prefix__startswith", "name__startswith")
    autocomplete_fields = ("tenant",)
    actions = ("revoke_keys",)
    form = NewKeyForm
    change_form_template = "admin/accounts/apikey/change.html"

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return () if obj is None else SHOWN_OF_A_KEY

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return NewKeyForm.Meta.fields if obj is None else SHOWN_OF_A_KEY

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
            self.revoke_keys(request, self.get_queryset(request).filter(pk=key_id))
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
