"""The rows that an operator's system reads again and again: subscribers and their cards.

They answer GET alone. Approval and delivery read the database: what they find there, their UPDATE
needs.
"""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.db.models.signals import post_delete, post_save, pre_save

from audit.prepared import Prepared, given
from ratelimit import cache
from ratelimit.cache import Cache

Facts = dict[str, Any]
#: The longest that a change is missed that nobody was told of, as one made by SQL.
TTL_S = 60


def _subscriber_asked() -> QuerySet[Any]:
    from pairing.models import Subscriber

    return Subscriber.objects.only(
        "tenant_id", "code", "name", "state", "sealed_credentials"
    ).filter(tenant=given(0, Subscriber, "tenant"), code=given(1, Subscriber, "code"))


def _cards_asked() -> QuerySet[Any]:
    from pairing.models import Smartcard

    cards = Smartcard.objects.select_related("active_pairing").only("sn", "active_pairing__udid")
    return cards.filter(subscriber=given(0, Smartcard, "subscriber")).order_by("sn")


_SUBSCRIBER: Prepared[Any] = Prepared(_subscriber_asked)
_CARDS: Prepared[Any] = Prepared(_cards_asked)


def _read(key: str) -> Facts | None:
    tenant_id, _, code = key.partition(":")
    row = _SUBSCRIBER.row(int(tenant_id), code)
    if row is None:
        return None
    return {
        "tenant_id": row.tenant_id,
        "code": row.code,
        "name": row.name,
        "state": row.state,
        "smartcards": [{"sn": card.sn, "udid": _holder(card)} for card in _CARDS.rows(row.pk)],
        "has_credentials": bool(row.sealed_credentials),
    }


def _holder(card: Any) -> str | None:
    holder = getattr(card, "active_pairing", None)
    return holder.udid if holder else None


def _key(facts: Facts) -> str:
    return f"{facts['tenant_id']}:{facts['code']}"


#: By tenant and code. MariaDB finds a code in other capitals too; it is kept by its own alone.
SUBSCRIBERS: Cache[Facts] = Cache("subscriber", _read, ttl_s=TTL_S, key_of=_key)


def subscriber(tenant_id: int, code: str) -> Facts | None:
    """What is told of a subscriber and of the devices on his cards; at most a second late."""
    return SUBSCRIBERS.get(f"{tenant_id}:{code}")


def changed(tenant_id: int, codes: Iterable[str]) -> None:
    """On commit, forget these subscribers: they, their cards or what is on them have changed.

    Saving or deleting a model does it by itself; whoever writes otherwise calls it.
    """
    cache.forget_on_commit([SUBSCRIBERS.row(f"{tenant_id}:{code}") for code in codes])


def watch() -> None:
    """Have what is saved or deleted, in the admin or elsewhere, be forgotten."""
    from pairing.models import Smartcard, Subscriber

    for signal in (post_save, post_delete):
        signal.connect(_subscriber_changed, sender=Subscriber)
        signal.connect(_card_changed, sender=Smartcard)
    pre_save.connect(_card_moves, sender=Smartcard)


def _subscriber_changed(instance: Any, **_: Any) -> None:
    changed(instance.tenant_id, [instance.code])


def _card_changed(instance: Any, **_: Any) -> None:
    changed(instance.tenant_id, [instance.subscriber.code])


def _card_moves(sender: Any, instance: Any, **_: Any) -> None:
    """Its subscriber until now has a card less."""
    if instance.pk is not None:
        stored = sender.objects.filter(pk=instance.pk)
        changed(instance.tenant_id, stored.values_list("subscriber__code", flat=True))
