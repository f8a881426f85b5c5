"""Subscribers as an operator's own system keeps them: written whole, read back without secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

import audit
from accounts.principal import Principal
from pairing import credentials, rows
from pairing.attempts import attempt
from pairing.models import Smartcard, Subscriber
from pairing.refusal import Refusal

#: What is told of a subscriber, never his credentials.
TOLD = ("code", "name", "state", "smartcards", "has_credentials")


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


def read(principal: Principal, code: str) -> dict[str, Any] | None:
    """One of `visible_to` with its smartcards, as GET tells it; at most a second late.

    Found in any capitals, as MariaDB compares them.
    """
    found = rows.subscriber(principal.tenant_id, code)
    if found is None or principal.subscriber_code not in (None, found["code"]):
        return None
    return {name: found[name] for name in TOLD}


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

    Refuses `differs_in_case` for a code that is stored in other capitals, `smartcard_taken` for a
    card of somebody else, and `smartcard_in_use` when a card that is left out has an active device.
    Codes and serial numbers are one whatever their capitals, as MariaDB compares them.
    """
    facts = {"name": name, "state": state}
    given = {field: value for field, value in facts.items() if value is not None}
    cards = None if smartcards is None else {sn.casefold(): sn for sn in smartcards}
    return attempt(partial(_put_once, principal, code, given, secrets, cards))


def _put_once(
    principal: Principal,
    code: str,
    given: Mapping[str, str],
    secrets: Mapping[str, Any] | None,
    cards: Mapping[str, str] | None,
) -> Written | Refusal:
    subscriber = _found(principal.tenant_id, code)
    if subscriber.code != code:
        return Refusal("differs_in_case", f"It is stored as {subscriber.code}.")
    if secrets is not None:
        sealed = credentials.seal(principal.tenant_id, subscriber.code, secrets)
        given = {**given, "sealed_credentials": sealed}
    created = subscriber._state.adding
    changed = sorted(given) + (["smartcards"] if cards is not None else [])
    with transaction.atomic():
        _write(subscriber, given)
        refusal = _set_cards(subscriber, cards) if cards is not None else None
        if refusal:
            transaction.set_rollback(True)
            return refusal
        rows.changed(subscriber.tenant_id, [subscriber.code])
        audit.record_with_change(
            "subscriber.changed",
            subject=f"subscriber:{subscriber.pk}",
            actor=str(principal),
            tenant=principal.tenant,
            detail={"name": code, "created": created, "changed": changed},
        )
    return Written(subscriber, created)


def _found(tenant_id: int, code: str) -> Subscriber:
    """The stored one, whatever the capitals of its code, or one that is not stored yet."""
    known = Subscriber.objects.filter(tenant_id=tenant_id, code__iexact=code).first()
    return known or Subscriber(tenant_id=tenant_id, code=code)


def _write(subscriber: Subscriber, given: Mapping[str, str]) -> None:
    for field, value in given.items():
        setattr(subscriber, field, value)
    if subscriber._state.adding:
        subscriber.save(force_insert=True)
    elif given:
        subscriber.save(update_fields=list(given))


def _set_cards(subscriber: Subscriber, wanted: Mapping[str, str]) -> Refusal | None:
    """`wanted` are serial numbers by their folded form; a card kept keeps its own capitals."""
    tenants = Smartcard.objects.filter(tenant_id=subscriber.tenant_id)
    stored = tenants.filter(subscriber=subscriber).values_list("sn", "pk")
    owned = {sn.casefold(): pk for sn, pk in stored}
    if tenants.filter(sn__in=wanted.values()).exclude(subscriber=subscriber).exists():
        return Refusal("smartcard_taken")
    gone = tenants.filter(pk__in=[pk for key, pk in owned.items() if key not in wanted])
    if gone.filter(active_pairing__isnull=False).exists():
        return Refusal("smartcard_in_use")
    gone.delete()
    Smartcard.objects.bulk_create(
        Smartcard(tenant_id=subscriber.tenant_id, subscriber=subscriber, sn=sn)
        for key, sn in wanted.items()
        if key not in owned
    )
    return None
