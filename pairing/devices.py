"""The devices that are on a card or on the way to one: seen, named, and signed out."""

from collections.abc import Sequence
from functools import partial

from django.db import transaction
from django.db.models import Q

import audit
from accounts.principal import Principal
from audit import clock
from audit.prepared import Prepared, given
from pairing import signals
from pairing.attempts import Outrun, attempt
from pairing.models import ACTIVE, Pairing, PairingQuerySet, State, Subscriber, end_all
from pairing.refusal import Refusal

_OF_UDID = Prepared(
    lambda: Pairing.objects.select_related("subscriber", "smartcard").filter(
        tenant=given(0, Pairing, "tenant"), active_udid=given(1, Pairing, "active_udid")
    )
)

_LISTED = (
    "udid",
    "active_udid",
    "name",
    "app_type",
    "model",
    "os",
    "state",
    "approved_at",
    "acknowledged_at",
)


def visible_to(principal: Principal, *, bare: bool = False) -> PairingQuerySet:
    """The active devices of the caller's tenant; for a subscriber, his own.

    `bare` devices come without subscriber and smartcard, and with what a list shows of them.
    """
    devices = _of(principal).active(clock.now()).filter(active_udid__isnull=False)
    return devices.only(*_LISTED) if bare else devices.select_related("subscriber", "smartcard")


def search(
    principal: Principal, *, subscriber_code: str = "", prefix: str = "", bare: bool = False
) -> PairingQuerySet:
    """`visible_to`, narrowed to a subscriber and to UDIDs or names that begin with `prefix`."""
    devices = visible_to(principal, bare=bare)
    if subscriber_code:
        devices = devices.filter(subscriber__code=subscriber_code)
    if prefix:
        devices = devices.filter(Q(active_udid__istartswith=prefix) | Q(name__istartswith=prefix))
    return devices


def rename(principal: Principal, udid: str, name: str) -> Pairing | Refusal:
    """Call the device `name`. Refuses `not_found`, for foreign and missing devices alike."""
    return attempt(partial(_rename_once, principal, udid, name))


def revoke(principal: Principal, udid: str, *, reason: str = "") -> Pairing | Refusal:
    """Sign the device out: its card is free and its tokens are refused, within a second everywhere.

    Refuses `already_revoked`, and `not_found` for foreign and missing devices alike.
    """
    return attempt(partial(_revoke_once, principal, udid, reason))


def revoke_all(principal: Principal, subscriber_code: str, *, reason: str = "") -> int | Refusal:
    """Sign out all devices of a subscriber at once; returns how many there were."""
    subscribers = Subscriber.objects.filter(tenant_id=principal.tenant_id, code=subscriber_code)
    if principal.subscriber_code is not None:
        subscribers = subscribers.filter(code=principal.subscriber_code)
    subscriber = subscribers.first()
    if subscriber is None:
        return Refusal("not_found")
    return attempt(partial(_revoke_all_once, principal, subscriber, reason))


def _of(principal: Principal) -> PairingQuerySet:
    pairings = Pairing.objects.filter(tenant_id=principal.tenant_id)
    if principal.subscriber_code is None:
        return pairings
    return pairings.filter(subscriber__code=principal.subscriber_code)


def _active(principal: Principal, udid: str) -> Pairing | None:
    found = _OF_UDID.row(principal.tenant_id, udid)
    if found is None or found.udid != udid or found.standing(clock.now()) not in ACTIVE:
        return None
    if principal.subscriber_code is None:
        return found
    own = found.subscriber is not None and found.subscriber.code == principal.subscriber_code
    return found if own else None


def _rename_once(principal: Principal, udid: str, name: str) -> Pairing | Refusal:
    device = _active(principal, udid)
    if device is None:
        return Refusal("not_found")
    version = device.version + 1
    with transaction.atomic():
        unchanged = Pairing.objects.filter(pk=device.pk, state=device.state, version=device.version)
        if not unchanged.update(name=name, version=version):
            raise Outrun
        audit.record_with_change(
            "device.renamed",
            subject=f"pairing:{device.pk}",
            subject_version=version,
            actor=str(principal),
            tenant=principal.tenant,
            detail={"from": device.name, "to": name},
        )
        transaction.on_commit(partial(signals.changed.send, Pairing, id=device.pk, version=version))
    device.name, device.version = name, version
    return device


def _revoke_once(principal: Principal, udid: str, reason: str) -> Pairing | Refusal:
    device = _active(principal, udid)
    if device is None:
        return _not_active(_of(principal).filter(udid=udid))
    _sign_out([device], principal, reason)
    return device


def _not_active(pairings: PairingQuerySet) -> Refusal:
    """A device that was revoked last can be told from one that never was."""
    latest = pairings.exclude(approved_at=None).order_by("-created_at").first()
    revoked = latest is not None and latest.state == State.REVOKED
    return Refusal("already_revoked" if revoked else "not_found")


def _revoke_all_once(principal: Principal, subscriber: Subscriber, reason: str) -> int:
    pairings = Pairing.objects.select_related("subscriber")
    holding = pairings.active(clock.now()).filter(
        tenant_id=principal.tenant_id, subscriber=subscriber
    )
    # In one order for everybody, or two callers would wait for each other.
    devices = list(holding.order_by("pk"))
    _sign_out(devices, principal, reason)
    return len(devices)


def _sign_out(devices: Sequence[Pairing], principal: Principal, reason: str) -> None:
    with transaction.atomic():
        if not end_all(devices, State.REVOKED, actor=str(principal), reason=reason):
            raise Outrun
