"""Putting a device on a subscriber's smartcard: who may, which card, and who wins."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import Scope
from accounts.principal import Principal
from audit import clock
from audit.prepared import Prepared, given
from pairing import codes, polling, rows
from pairing.attempts import Outrun, attempt
from pairing.lifetimes import COLLECT_S
from pairing.models import ACTIVE, MOVED, Pairing, Smartcard, State, Subscriber
from pairing.refusal import Refusal

#: Of so many free cards a try that was outrun picks one by chance, to meet nobody again.
_CHOICE = 20
_OF_HOLDER = tuple(f"active_pairing__{name}" for name in (*MOVED, "subscriber_id"))


def _cards() -> QuerySet[Smartcard]:
    """The cards of a subscriber, each with whoever holds it."""
    return (
        Smartcard.objects.select_related("subscriber", "active_pairing")
        .only("sn", "subscriber__code", "subscriber__state", *_OF_HOLDER)
        .filter(tenant=given(0, Smartcard, "tenant"), subscriber__code=given(1, Subscriber, "code"))
    )


def _free() -> Q:
    overdue = Q(
        active_pairing__state__in=(State.APPROVED, State.DELIVERED),
        active_pairing__acknowledges_itself=False,
        active_pairing__expires_at__lte=given(2, Pairing, "expires_at"),
    )
    return Q(active_pairing=None) | overdue


_NAMED = Prepared(lambda: _cards().filter(sn=given(2, Smartcard, "sn")))
_FIRST_FREE = Prepared(lambda: _cards().filter(_free()).order_by("pk")[:1])
_SOME_FREE = Prepared(lambda: _cards().filter(_free()).order_by("pk")[:_CHOICE])
_RIVAL = Prepared(
    lambda: Pairing.objects.select_related("subscriber", "smartcard").filter(
        pk=given(0, Pairing, "id")
    )
)


@dataclass(frozen=True, slots=True)
class Approved:
    """The device `udid` is on the card `sn` and may collect its credentials."""

    udid: str
    subscriber_code: str
    sn: str
    status: str = State.APPROVED.value


@dataclass(frozen=True, slots=True)
class Denied:
    """The device `udid` gets nothing."""

    udid: str
    status: str = State.DENIED.value


def approve(
    principal: Principal,
    *,
    user_code: str | None = None,
    udid: str | None = None,
    subscriber_code: str | None = None,
    sn: str | None = None,
) -> Approved | Refusal:
    """Give the device that shows `user_code`, or that alone waits under `udid`, to a subscriber.

    A subscriber approves for itself and need not say its code; by UDID only keys and operators may.
    Without `sn` a free card is taken. An active device of the same UDID and subscriber is replaced,
    but not by UDID: whoever waits under the UDID of an active device may be a stranger who read it.
    """
    code = subscriber_code or principal.subscriber_code
    if not _may_approve(principal, code, by_udid=user_code is None):
        return Refusal("permission_denied")
    found = _waiting(principal, user_code, udid)
    if isinstance(found, Refusal):
        return found
    by_udid = user_code is None
    return attempt(_Approval(principal, found, code or "", sn, by_udid=by_udid).once)


def deny(principal: Principal, *, user_code: str) -> Denied | Refusal:
    """Refuse the device that shows `user_code`; it hears `access_denied`."""
    if not _may_approve(principal, principal.subscriber_code, by_udid=False):
        return Refusal("permission_denied")
    found = codes.find(principal, user_code)
    if isinstance(found, Refusal):
        return found
    return attempt(partial(_deny_once, principal, found.pk))


def look_up(principal: Principal, user_code: str) -> Pairing | Refusal:
    """The pairing that waits under `user_code`, to be shown to the person who is asked about it.

    Refusals as of `approve`; a wrong code counts here as it does there.
    """
    found = codes.find(principal, user_code)
    if isinstance(found, Refusal):
        return found
    return _settled(found, clock.now()) or found


def _may_approve(principal: Principal, code: str | None, *, by_udid: bool) -> bool:
    if Scope.PAIRING_APPROVE in principal.scopes and principal.subscriber_code is None:
        return True
    return not by_udid and code is not None and code == principal.subscriber_code


def _waiting(principal: Principal, user_code: str | None, udid: str | None) -> Pairing | Refusal:
    if user_code is not None:
        return codes.find(principal, user_code)
    of_udid = Pairing.objects.with_rival().filter(tenant_id=principal.tenant_id, udid=udid)
    pending = list(of_udid.filter(state=State.PENDING, expires_at__gt=clock.now())[:2])
    if len(pending) == 1:
        return pending[0]
    if pending:
        return Refusal("ambiguous_udid")
    latest = of_udid.order_by("-created_at").first()
    return (_settled(latest, clock.now()) if latest else None) or Refusal("unknown_code")


def _settled(pairing: Pairing, now: datetime) -> Refusal | None:
    """Why a pairing no longer waits, if so."""
    standing = pairing.standing(now)
    if standing is State.PENDING:
        return None
    if standing in ACTIVE:
        return Refusal("already_approved")
    if standing is State.DENIED:
        return Refusal("already_denied")
    return Refusal("expired_code")


@dataclass(slots=True)
class _Approval:
    """One approval: what was asked, and each look at how things stand."""

    principal: Principal
    found: Pairing
    subscriber_code: str
    sn: str | None
    by_udid: bool
    tries: int = field(default=0, init=False)

    def once(self) -> Approved | Refusal:
        self.tries += 1
        now = clock.now()
        pairing = (
            self.found if self.tries == 1 else Pairing.objects.with_rival().get(pk=self.found.pk)
        )
        settled = _settled(pairing, now)
        if settled:
            return settled
        rival = _rival(pairing)
        if self.by_udid and rival and rival.standing(now) in ACTIVE:
            return Refusal("ambiguous_udid", "A device uses the UDID already; use the user_code.")
        card = self._card(rival, now)
        refusal = card if isinstance(card, Refusal) else _conflict(card, rival, now)
        if refusal:
            # Whoever approved this very pairing a moment ago is the reason for all other reasons.
            return _settled(Pairing.objects.get(pk=pairing.pk), now) or refusal
        assert isinstance(card, Smartcard)
        return self._put(pairing, card, rival, now)

    def _card(self, rival: Pairing | None, now: datetime) -> Smartcard | Refusal:
        whose = (self.principal.tenant_id, self.subscriber_code)
        sn = self.sn
        if sn is None and rival and rival.subscriber and rival.smartcard:
            sn = rival.smartcard.sn if rival.subscriber.code == self.subscriber_code else None
        free = _FIRST_FREE if self.tries == 1 else _SOME_FREE
        choice = free.rows(*whose, now) if sn is None else _NAMED.rows(*whose, sn)
        return random.choice(choice) if choice else self._no_card()  # noqa: S311 - no secret

    def _no_card(self) -> Refusal:
        subscriber = Subscriber.objects.filter(
            tenant_id=self.principal.tenant_id, code=self.subscriber_code
        ).first()
        if subscriber is None:
            return Refusal("unknown_subscriber")
        if subscriber.state == Subscriber.State.LOCKED:
            return Refusal("subscriber_locked")
        return Refusal("no_free_smartcard" if self.sn is None else "unknown_smartcard")

    def _put(
        self, pairing: Pairing, card: Smartcard, rival: Pairing | None, now: datetime
    ) -> Approved:
        actor = str(self.principal)
        with transaction.atomic():
            for holder in _holders(card, rival):
                _free_from(holder, actor)
            pairing.must_move(
                State.APPROVED,
                actor=actor,
                detail={"subscriber": card.subscriber.code, "sn": card.sn, "udid": pairing.udid},
                subscriber_id=card.subscriber_id,
                smartcard_id=card.pk,
                active_smartcard_id=card.pk,
                active_udid=pairing.udid,
                approved_at=now,
                approved_by=actor,
                expires_at=now + timedelta(seconds=COLLECT_S),
            )
            rows.changed(pairing.tenant_id, [card.subscriber.code])
            transaction.on_commit(
                partial(polling.forget, pairing.tenant_id, pairing.device_code_digest)
            )
        return Approved(pairing.udid, card.subscriber.code, card.sn)


def _rival(pairing: Pairing) -> Pairing | None:
    """The pairing that holds the UDID, active or overdue."""
    rival_id = getattr(pairing, "rival_id", None)
    if rival_id is None:
        return None
    return _RIVAL.row(rival_id)


def _conflict(card: Smartcard, rival: Pairing | None, now: datetime) -> Refusal | None:
    if card.subscriber.state == Subscriber.State.LOCKED:
        return Refusal("subscriber_locked")
    if rival and rival.standing(now) in ACTIVE and rival.subscriber_id != card.subscriber_id:
        return Refusal("udid_in_use")
    holder = _holder(card)
    if holder and holder.standing(now) in ACTIVE and (rival is None or holder.pk != rival.pk):
        return Refusal("smartcard_in_use")
    return None


def _holder(card: Smartcard) -> Pairing | None:
    holder: Pairing | None = getattr(card, "active_pairing", None)
    if holder and holder.subscriber_id == card.subscriber_id:
        # Known already; otherwise ending it would ask for him.
        holder.subscriber = card.subscriber
    return holder


def _holders(card: Smartcard, rival: Pairing | None) -> list[Pairing]:
    """Whoever has to leave the card or the UDID, each once, in one order for everybody."""
    holders = {holder.pk: holder for holder in (_holder(card), rival) if holder}
    return [holders[pk] for pk in sorted(holders)]


def _free_from(holder: Pairing, actor: str) -> None:
    overdue = holder.standing(clock.now()) is State.EXPIRED
    if not (
        holder.lapse() if overdue else holder.end(State.REVOKED, actor=actor, reason="replaced")
    ):
        raise Outrun


def _deny_once(principal: Principal, pk: UUID) -> Denied | Refusal:
    now = clock.now()
    pairing = Pairing.objects.get(pk=pk)
    settled = _settled(pairing, now)
    if settled:
        return settled
    with transaction.atomic():
        if not pairing.end(State.DENIED, actor=str(principal)):
            raise Outrun
        transaction.on_commit(
            partial(polling.forget, pairing.tenant_id, pairing.device_code_digest)
        )
    return Denied(pairing.udid)
