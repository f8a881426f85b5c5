"""A device asks for a pairing, and for another code when its own is about to die."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from django.conf import settings
from django.db import transaction

import audit
from accounts.snapshot import ClientEntry
from audit import clock, statements
from pairing import codes, device_code, limits, signals, user_code
from pairing.attempts import Outrun, attempt
from pairing.device_code import DeviceCode
from pairing.lifetimes import CODE_S, RENEWABLE_S
from pairing.models import ACTIVE, Pairing, State, tenant_slug
from pairing.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Created:
    """A new pairing as its device hears of it: the only time that anybody sees the device_code."""

    udid: str
    user_code: str
    device_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int
    websocket_url: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """The code that the device shows from now on."""

    user_code: str
    expires_in: int


def create(
    client: ClientEntry, *, address: str | None, udid: str = "", **facts: Any
) -> Created | Refusal:
    """A pairing of its own for whoever asks, touching no other: a UDID is public.

    `facts` are what the device says of itself: `app_type`, `model`, `os`, `name`, `public_key`.
    """
    return attempt(partial(_create_once, client, address, udid or uuid4().hex, facts))


def renew(device: DeviceCode, *, udid: str) -> Renewed | Refusal:
    """A new code for a pairing that still waits; the old one dies. For `RENEWABLE_S` at most.

    Refuses `invalid_device_code`, `expired`, or `already_approved`: there is something to collect.
    """
    return attempt(partial(_renew_once, device, udid))


def verification_uri() -> str:
    """Where a person types the code."""
    return f"{settings.PUBLIC_URL}/activate/"


def _create_once(
    client: ClientEntry, address: str | None, udid: str, facts: dict[str, Any]
) -> Created:
    secret, code, now = device_code.mint(client.tenant_id), user_code.mint(), clock.now()
    pairing = Pairing(
        tenant_id=client.tenant_id,
        client_id=client.id,
        udid=udid,
        device_code_digest=device_code.digest(secret),
        user_code=code,
        address=address or None,
        created_at=now,
        expires_at=now + timedelta(seconds=CODE_S),
        **facts,
    )
    statements.insert(pairing)
    codes.remember(client.tenant_id, code)
    audit.record(
        "pairing.created",
        subject=f"pairing:{pairing.pk}",
        subject_version=pairing.version,
        actor=f"device:{udid}",
        tenant=client.tenant_slug,
    )
    shown = user_code.display(code)
    return Created(
        udid=udid,
        user_code=shown,
        device_code=secret,
        verification_uri=verification_uri(),
        verification_uri_complete=f"{verification_uri()}?user_code={shown}",
        expires_in=CODE_S,
        interval=limits.current(limits.INTERVAL).window_s,
        websocket_url=_websocket_url(),
    )


def _websocket_url() -> str:
    scheme, netloc, *_ = urlsplit(settings.REALTIME_URL)
    return urlunsplit(("wss" if scheme == "https" else "ws", netloc, "/ws/pairings/", "", ""))


def _renew_once(device: DeviceCode, udid: str) -> Renewed | Refusal:
    pairing = Pairing.objects.filter(device_code_digest=device.digest).first()
    if pairing is None or pairing.udid != udid:
        return Refusal("invalid_device_code")
    now = clock.now()
    life = _renewable_for(pairing)
    if pairing.state in ACTIVE:
        return Refusal("already_approved")
    if pairing.state != State.PENDING or life <= timedelta():
        return Refusal("expired")
    old, code = pairing.user_code, user_code.mint()
    renewed = Pairing.objects.filter(
        pk=pairing.pk, state=State.PENDING, version=pairing.version
    ).update(user_code=code, expires_at=now + life, version=pairing.version + 1)
    if not renewed:
        raise Outrun
    codes.remember(pairing.tenant_id, code, instead_of=old)
    _tell(pairing)
    return Renewed(user_code.display(code), int(life.total_seconds()))


def _renewable_for(pairing: Pairing) -> timedelta:
    """How long a code lives that is minted now; nothing once the pairing is past its time.

    A device that renews when the code dies is an interval late at most.
    """
    now = clock.now()
    grace = timedelta(seconds=limits.current(limits.INTERVAL).window_s)
    if pairing.expires_at + grace <= now:
        return timedelta()
    left = pairing.created_at + timedelta(seconds=RENEWABLE_S) - now
    return min(left, timedelta(seconds=CODE_S))


def _tell(pairing: Pairing) -> None:
    version = pairing.version + 1
    audit.record(
        "pairing.renewed",
        subject=f"pairing:{pairing.pk}",
        subject_version=version,
        actor=f"device:{pairing.udid}",
        tenant=tenant_slug(pairing.tenant_id),
    )
    transaction.on_commit(partial(signals.changed.send, Pairing, id=pairing.pk, version=version))
