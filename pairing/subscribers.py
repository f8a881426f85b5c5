"""Subscribers as an operator's own system keeps them: written whole, read back without secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

import audit
from accounts.principal import Principal
from pairing import credentials
from pairing.attempts import attempt
from pairing.models import Smartcard, Subscriber
from pairing.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Written:
    """A subscriber as it stands now, and whether it is new."""

    subscriber: Subscriber
    created: bool


def visible_to(principal: Principal) -> QuerySet[Subscriber]:
    """The subscribers of the caller's tenant; for a subscriber, himself."""
    subscribers = Subscriber.objects.filter(tenant_id=principal.tenant_id)
    if principal.subscriber_code is None:
        return subscribers
    return subscribers.filter(code=principal.subscriber_code)


def search(principal: Principal, prefix: str) -> QuerySet[Subscriber]:
    """Those whose code begins with `prefix`."""
    subscribers = visible_to(principal)
    return subscribers.filter(code__istartswith=prefix) if prefix else subscribers


def put(
    principal: Principal,
    code: str,
    *,
    name: str | None = None,
    state: str | None = None,
    smartcards: Sequence[str] | None = None,
    secrets: Mapping[str, Any] | None = None,
) -> Written | Refusal:
    """Create or change a subscriber. None leaves things as they are; cards and secrets replace.

    Refuses `smartcard_taken` for a card of somebody else, and `smartcard_in_use` when a card that
    is left out has an active device.
    """
    sealed = None if secrets is None else credentials.seal(principal.tenant_id, code, secrets)
    facts = {"name": name, "state": state, "sealed_credentials": sealed}
    given = {field: value for field, value in facts.items() if value is not None}
    cards = None if smartcards is None else list(dict.fromkeys(smartcards))
    return attempt(partial(_put_once, principal, code, given, cards))


def _put_once(
    principal: Principal, code: str, given: dict[str, str], cards: list[str] | None
) -> Written | Refusal:
    changed = sorted(given) + (["smartcards"] if cards is not None else [])
    with transaction.atomic():
        subscriber, created = _written(principal.tenant_id, code, given)
        refusal = _set_cards(subscriber, cards) if cards is not None else None
        if refusal:
            transaction.set_rollback(True)
            return refusal
        audit.record_with_change(
            "subscriber.changed",
            subject=f"subscriber:{code}",
            actor=str(principal),
            tenant=principal.tenant,
            detail={"created": created, "changed": changed},
        )
    return Written(subscriber, created)


def _written(tenant_id: int, code: str, given: dict[str, str]) -> tuple[Subscriber, bool]:
    subscriber = Subscriber.objects.filter(tenant_id=tenant_id, code=code).first()
    if subscriber is None:
        return Subscriber.objects.create(tenant_id=tenant_id, code=code, **given), True
    for field, value in given.items():
        setattr(subscriber, field, value)
    if given:
        subscriber.save(update_fields=list(given))
    return subscriber, False


def _set_cards(subscriber: Subscriber, wanted: list[str]) -> Refusal | None:
    tenants = Smartcard.objects.filter(tenant_id=subscriber.tenant_id)
    owned = set(tenants.filter(subscriber=subscriber).values_list("sn", flat=True))
    if tenants.filter(sn__in=wanted).exclude(subscriber=subscriber).exists():
        return Refusal("smartcard_taken")
    gone = tenants.filter(subscriber=subscriber).exclude(sn__in=wanted)
    if gone.filter(active_pairing__isnull=False).exists():
        return Refusal("smartcard_in_use")
    gone.delete()
    Smartcard.objects.bulk_create(
        Smartcard(tenant_id=subscriber.tenant_id, subscriber=subscriber, sn=sn)
        for sn in wanted
        if sn not in owned
    )
    return None
