"""Handing the credentials over: at least once, to one device, and then never again.

The answer is kept sealed and served again to the same device_code for `REDELIVERY_S`, until the
device acknowledges it: by saying so, by using its token, or, when it collected through OAuth, by
the passing of that time.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts import keyring, snapshot, tokens
from accounts.models import RefreshToken
from accounts.sealing import CannotOpen, NoActiveKey
from audit import clock
from audit.prepared import Prepared, given
from pairing import credentials, pending, sealed_box
from pairing.attempts import attempt
from pairing.device_code import DeviceCode
from pairing.lifetimes import REDELIVERY_S
from pairing.models import MOVED, Pairing, State, Subscriber
from pairing.refusal import Refusal

logger = logging.getLogger(__name__)

#: When to come back while a key is missing: a person has to act first.
KEY_MISSING_S = 60
_READ = (
    *MOVED,
    "public_key",
    "sealed_answer",
    "subscriber__code",
    "subscriber__state",
    "subscriber__sealed_credentials",
    "smartcard__sn",
)
_TO_COLLECT = Prepared(
    lambda: (
        Pairing.objects.select_related("subscriber", "smartcard")
        .only(*_READ)
        .filter(device_code_digest=given(0, Pairing, "device_code_digest"))
    )
)
_OF_DEVICE = Prepared(
    lambda: Pairing.objects.only(*MOVED).filter(
        device_code_digest=given(0, Pairing, "device_code_digest")
    )
)
_REFUSALS = {
    State.PENDING: "authorization_pending",
    State.DENIED: "access_denied",
    State.REVOKED: "access_denied",
    State.EXPIRED: "expired",
    State.ACKNOWLEDGED: "already_collected",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the device receives; `credentials` are a JWE when it sent a public key."""

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    credentials: dict[str, Any] | str


def collect(
    device: DeviceCode,
    *,
    udid: str | None = None,
    client_id: int | None = None,
    acknowledges_itself: bool = False,
) -> Delivery | Refusal:
    """The credentials of the device that holds this device_code.

    `udid` or `client_id`, where given, must be the pairing's. Refuses `access_denied` to everybody
    else's device, and when the subscriber has been locked since the approval; `credentials_sealed`
    while the keyring lacks the key that the credentials need.
    """
    try:
        return attempt(partial(_collect_once, device, udid, client_id, acknowledges_itself))
    except (CannotOpen, NoActiveKey) as error:
        logger.error("credentials cannot be delivered: %s", error)
        return Refusal("credentials_sealed", retry_after_s=KEY_MISSING_S)


def acknowledge(device: DeviceCode, *, udid: str) -> Refusal | None:
    """The device has its credentials safe: the answer is forgotten. Harmless when repeated."""
    outcome = attempt(partial(_acknowledge_once, device, udid))
    return outcome if isinstance(outcome, Refusal) else None


def acknowledge_use(family: UUID) -> bool:
    """Whoever uses a token of a delivery has received it, which acknowledges it.

    False when it comes too late: the pairing had expired, and now its tokens are revoked.
    """
    pairing = Pairing.objects.filter(token_family=family, state=State.DELIVERED).first()
    if pairing is None:
        return True
    with transaction.atomic():
        if not pairing.lapse():
            pairing.acknowledge(actor=f"device:{pairing.udid}")
    return pairing.state != State.EXPIRED


def acknowledge_refresh(refresh_token: str, client_id: str) -> bool:
    """`acknowledge_use` of a refresh token that is about to be exchanged by its own client.

    One that cannot be exchanged proves nothing, and acknowledges nothing.
    """
    usable = RefreshToken.objects.filter(
        digest=tokens.digest(refresh_token),
        used_at=None,
        expires_at__gt=clock.now(),
        family__client_id=client_id,
    )
    family = usable.values_list("family", flat=True).first()
    return family is None or acknowledge_use(family)


def _collect_once(
    device: DeviceCode, udid: str | None, client_id: int | None, acknowledges_itself: bool
) -> Delivery | Refusal:
    mark = pending.shared.mark()
    pairing = _TO_COLLECT.row(device.digest)
    if pairing is None or udid not in (None, pairing.udid):
        return Refusal("access_denied")
    if client_id not in (None, pairing.client_id):
        return Refusal("access_denied")
    standing = pairing.standing(clock.now())
    if standing is State.PENDING:
        pending.shared.remember(device.digest, pairing.known, mark)
    if standing in _REFUSALS:
        return Refusal(_REFUSALS[standing])
    subscriber = pairing.subscriber
    if subscriber is None or subscriber.state != Subscriber.State.ACTIVE:
        return Refusal("access_denied", "The subscriber is locked.")
    if standing is State.DELIVERED:
        return _opened(pairing)
    return _deliver(pairing, subscriber, acknowledges_itself)


def _deliver(pairing: Pairing, subscriber: Subscriber, acknowledges_itself: bool) -> Delivery:
    secrets = _secrets(pairing, subscriber)
    now = clock.now()
    with transaction.atomic():
        family = tokens.start_family(
            pairing.tenant_id, subscriber.code, pairing.udid, client_id=_client_id(pairing)
        )
        issued = tokens.issue(family)
        delivery = Delivery(
            issued.access_token, issued.refresh_token, issued.expires_in, issued.scope, secrets
        )
        # Nobody else waits for these rows: the pairing's own is locked last, when all is ready.
        sealed = _sealed(pairing, delivery)
        pairing.must_move(
            State.DELIVERED,
            actor=f"device:{pairing.udid}",
            sealed_answer=sealed,
            token_family=family.pk,
            delivered_at=now,
            expires_at=now + timedelta(seconds=REDELIVERY_S),
            acknowledges_itself=acknowledges_itself,
        )
    return delivery


def _secrets(pairing: Pairing, subscriber: Subscriber) -> dict[str, Any] | str:
    secrets: Mapping[str, Any] = {
        "subscriber_code": subscriber.code,
        "sn": pairing.smartcard.sn if pairing.smartcard else "",
        **credentials.unseal(pairing.tenant_id, subscriber.code, subscriber.sealed_credentials),
    }
    return sealed_box.seal(secrets, pairing.public_key) if pairing.public_key else dict(secrets)


def _client_id(pairing: Pairing) -> str:
    clients = snapshot.current().clients.values()
    return next((entry.client_id for entry in clients if entry.id == pairing.client_id), "")


def _sealed(pairing: Pairing, delivery: Delivery) -> str:
    members = {name: getattr(delivery, name) for name in Delivery.__slots__}
    return keyring.seal(json.dumps(members).encode(), _context(pairing))


def _opened(pairing: Pairing) -> Delivery:
    return Delivery(**json.loads(keyring.open_sealed(pairing.sealed_answer, _context(pairing))))


def _context(pairing: Pairing) -> str:
    return f"answer:{pairing.pk}"


def _acknowledge_once(device: DeviceCode, udid: str) -> Refusal | None:
    pairing = _OF_DEVICE.row(device.digest)
    if pairing is None or pairing.udid != udid:
        return Refusal("access_denied")
    standing = pairing.standing(clock.now())
    if standing is State.ACKNOWLEDGED:
        return None
    if standing is not State.DELIVERED:
        return Refusal("not_delivered")
    with transaction.atomic():
        pairing.must_acknowledge(actor=f"device:{udid}")
    return None
