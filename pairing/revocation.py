"""Revoking chosen devices, one by one: one that cannot be revoked stops no other."""

from collections.abc import Iterable
from functools import partial
from uuid import UUID

from django.db import transaction

from audit import clock
from pairing.attempts import Outrun, attempt
from pairing.models import ACTIVE, Pairing, State


def revoke_each(pairings: Iterable[Pairing], *, actor: str, reason: str = "") -> int:
    """Sign out those of `pairings` that are signed in; returns how many that were."""
    acts = (partial(_revoke_once, pairing.pk, actor, reason) for pairing in pairings)
    return sum(attempt(act) is True for act in acts)


def _revoke_once(pk: UUID, actor: str, reason: str) -> bool:
    pairing = Pairing.objects.select_related("subscriber").get(pk=pk)
    if pairing.standing(clock.now()) not in ACTIVE:
        return False
    with transaction.atomic():
        if not pairing.end(State.REVOKED, actor=actor, reason=reason):
            raise Outrun
    return True
