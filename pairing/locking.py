"""Locking a subscriber: nothing is approved for it or delivered to it until it is unlocked."""

from collections.abc import Iterable

from django.db import transaction

import audit
from pairing import rows
from pairing.models import Subscriber, tenant_slug


def lock(subscribers: Iterable[Subscriber], *, actor: str) -> int:
    """Lock those that are not locked; how many that were. Devices signed in already stay so."""
    return _change(subscribers, Subscriber.State.LOCKED, actor)


def unlock(subscribers: Iterable[Subscriber], *, actor: str) -> int:
    """Unlock those that are locked; how many that were."""
    return _change(subscribers, Subscriber.State.ACTIVE, actor)


@transaction.atomic
def _change(subscribers: Iterable[Subscriber], state: Subscriber.State, actor: str) -> int:
    return sum(_change_one(subscriber, state, actor) for subscriber in subscribers)


def _change_one(subscriber: Subscriber, state: Subscriber.State, actor: str) -> bool:
    """One conditional UPDATE: whoever comes second finds nothing to change and records nothing."""
    won = Subscriber.objects.filter(pk=subscriber.pk).exclude(state=state).update(state=state)
    if won:
        rows.changed(subscriber.tenant_id, [subscriber.code])
        audit.record_with_change(
            "subscriber.changed",
            subject=f"subscriber:{subscriber.pk}",
            actor=actor,
            tenant=tenant_slug(subscriber.tenant_id),
            detail={"name": subscriber.code, "state": state.value},
        )
    return bool(won)
