"""The pages of the admin on which an operator looks after subscribers, cards and devices."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.text import Truncator
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.admin import AuditedAdmin, actor
from accounts.tenancy import OfTenant, of_tenant
from audit import clock
from pairing import locking, revocation
from pairing.models import ACTIVE, TIMED, Pairing, Smartcard, State, Subscriber

#: A confirmation page and a request have room for so many.
MOST_AT_ONCE = 500
#: The filter of app types offers those of the latest pairings; a DISTINCT would read all of them.
LATEST = 1_000


class SubscriberForm(forms.ModelForm):
    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        tenant, user = found.get("tenant"), found.get("user")
        tenant_id = tenant.pk if tenant else self.instance.tenant_id
        if user and user.tenant_id != tenant_id:
            raise ValidationError({"user": _("This person belongs to another tenant.")})
        return found


class SmartcardsInline(admin.TabularInline):
    """The cards of a subscriber, and what uses them. A card's own page changes it."""

    model = Smartcard
    fields = readonly_fields = ("sn", "device")
    extra = 0
    show_change_link = True
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Smartcard]:
        return super().get_queryset(request).select_related("active_pairing").order_by("sn")

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description=_("used by"))
    def device(self, card: Smartcard) -> str:
        return holder(card)


def holder(card: Smartcard) -> str:
    """The device on the card, as far as the tables know: `-` for none."""
    pairing = getattr(card, "active_pairing", None)
    return f"{pairing.model or pairing.app_type} {pairing.udid}" if pairing else "-"


@admin.register(Subscriber)
class SubscriberAdmin(AuditedAdmin, OfTenant):
    """Found by the beginning of the code, which is what the index of codes can answer."""

    audit_action = "subscriber.changed"
    in_snapshot = False
    form = SubscriberForm
    list_display = ("code", "name", "state", "created_at")
    list_filter = ("state",)
    list_select_related = ("tenant",)
    search_fields = ("^code",)
    search_help_text = _("Beginning of the subscriber code")
    ordering = ("code",)
    autocomplete_fields = ("user",)
    fields = ("tenant", "code", "name", "state", "user", "created_at")
    inlines = (SmartcardsInline,)
    actions = ("lock", "unlock")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Model | None = None
    ) -> tuple[str, ...]:
        """Tokens and sealed credentials are bound to tenant and code: both stay as made."""
        return ("state", "created_at", *(("tenant", "code") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Who leaves is locked: the trail and the devices speak of him."""
        return False

    @admin.action(description=_("Lock the selected subscribers"), permissions=["change"])
    def lock(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        count = locking.lock(queryset, actor=actor(request))
        text = ngettext("%(count)d subscriber locked.", "%(count)d subscribers locked.", count)
        messages.success(request, text % {"count": count})

    @admin.action(description=_("Unlock the selected subscribers"), permissions=["change"])
    def unlock(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        count = locking.unlock(queryset, actor=actor(request))
        text = ngettext("%(count)d subscriber unlocked.", "%(count)d subscribers unlocked.", count)
        messages.success(request, text % {"count": count})


class SmartcardForm(forms.ModelForm):
    """A card is of its subscriber's tenant; on a device it is neither moved nor renamed."""

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        subscriber, sn = found.get("subscriber"), found.get("sn")
        if self.instance.pk and self.has_changed() and hasattr(self.instance, "active_pairing"):
            raise ValidationError(_("A device uses this card. Revoke the device first."))
        if subscriber and sn:
            self.instance.tenant_id = subscriber.tenant_id
            same = Smartcard.objects.filter(tenant=subscriber.tenant_id, sn=sn)
            if same.exclude(pk=self.instance.pk).exists():
                raise ValidationError({"sn": _("A smartcard with this number exists already.")})
        return found


@admin.register(Smartcard)
class SmartcardAdmin(AuditedAdmin, OfTenant):
    audit_action = "subscriber.changed"
    in_snapshot = False
    form = SmartcardForm
    list_display = ("sn", "subscriber", "device")
    list_select_related = ("tenant", "subscriber", "active_pairing")
    search_fields = ("^sn",)
    search_help_text = _("Beginning of the serial number")
    ordering = ("sn",)
    fields = ("sn", "subscriber", "device")
    readonly_fields = ("device",)
    autocomplete_fields = ("subscriber",)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description=_("used by"))
    def device(self, card: Smartcard) -> str:
        return holder(card)


class StandingFilter(admin.SimpleListFilter):
    """By state as it stands now: what is past its time counts as expired, whatever the row says."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return State.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted not in State.values:
            return queryset
        over = Q(state__in=TIMED, expires_at__lte=clock.now())
        kept = Q(state=State.DELIVERED, acknowledges_itself=True)
        if wanted == State.EXPIRED:
            return queryset.filter(Q(state=wanted) | (over & ~kept))
        if wanted == State.ACKNOWLEDGED:
            return queryset.filter(Q(state=wanted) | (over & kept))
        return queryset.filter(Q(state=wanted) & ~over)


class AppTypeFilter(admin.SimpleListFilter):
    title = _("app type")
    parameter_name = "app_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        latest = of_tenant(Pairing.objects.order_by("-pk"), request)
        kinds = set(latest.values_list("app_type", flat=True)[:LATEST])
        return [(kind, kind) for kind in sorted(kinds)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(app_type=self.value()) if self.value() else queryset


@admin.register(Pairing)
class PairingAdmin(OfTenant):
    """To look at and to revoke. Everything else on a pairing is decided by its states."""

    list_display = ("short_udid", "standing", "created", "subscriber", "smartcard", "device")
    list_select_related = ("tenant", "subscriber", "smartcard")
    list_filter = (StandingFilter, AppTypeFilter, "created_at")
    search_fields = ("^udid",)
    search_help_text = _("Beginning of the UDID")
    #: Ids are in order of time, and they are the primary key.
    ordering = ("-pk",)
    actions = ("revoke_selected",)
    fields = (
        ("udid", "standing", "version"),
        ("tenant", "client"),
        ("app_type", "model", "os", "name"),
        "address",
        ("subscriber", "smartcard"),
        ("created_at", "expires_at"),
        ("approved_at", "approved_by"),
        ("delivered_at", "acknowledged_at"),
        ("ended_at", "ended_reason"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Of the list, for its action; never of a single row."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description="UDID", ordering="udid")
    def short_udid(self, pairing: Pairing) -> str:
        return Truncator(pairing.udid).chars(20)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, pairing: Pairing) -> str:
        return date_format(localtime(pairing.created_at), "Y-m-d H:i")

    @admin.display(description=_("device"))
    def device(self, pairing: Pairing) -> str:
        return " · ".join(part for part in (pairing.model, pairing.app_type) if part)

    @admin.display(description=_("state"), ordering="state")
    def standing(self, pairing: Pairing) -> str:
        return pairing.standing(clock.now()).label

    @admin.action(description=_("Revoke the selected devices"), permissions=["change"])
    def revoke_selected(
        self, request: HttpRequest, queryset: QuerySet[Pairing]
    ) -> TemplateResponse | None:
        """Ask first; then revoke each by itself: one that cannot be revoked stops no other."""
        chosen = list(queryset[: MOST_AT_ONCE + 1])
        if len(chosen) > MOST_AT_ONCE:
            messages.error(request, _("Choose at most %d devices at once.") % MOST_AT_ONCE)
            return None
        signed_in = [pairing for pairing in chosen if pairing.standing(clock.now()) in ACTIVE]
        if signed_in and "confirmed" not in request.POST:
            return self._confirmation(request, signed_in, len(chosen) - len(signed_in))
        reason = request.POST.get("reason", "")[:100]
        revoked = revocation.revoke_each(signed_in, actor=actor(request), reason=reason)
        self._tell(request, revoked, len(chosen) - revoked)
        return None

    def _tell(self, request: HttpRequest, revoked: int, skipped: int) -> None:
        if revoked:
            done = ngettext("%(count)d device revoked.", "%(count)d devices revoked.", revoked)
            messages.success(request, done % {"count": revoked})
        if skipped:
            left = ngettext(
                "%(count)d was not signed in and stays as it is.",
                "%(count)d were not signed in and stay as they are.",
                skipped,
            )
            messages.warning(request, left % {"count": skipped})

    def _confirmation(
        self, request: HttpRequest, chosen: list[Pairing], skipped: int
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Revoke devices?"),
            "opts": self.opts,
            "pairings": chosen,
            "skipped": skipped,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/pairing/revoke_selected.html", context)
