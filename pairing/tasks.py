"""Work that nobody waits for."""

import logging
from collections.abc import Callable
from typing import Any

from celery import shared_task
from django.db import DatabaseError, transaction

from audit import clock, context
from pairing.models import Pairing

logger = logging.getLogger(__name__)

BATCH = 200
#: Celery comes without types.
task: Callable[..., Callable[[Callable[..., int]], Any]] = shared_task


@task(ignore_result=True)
def sweep() -> int:
    """Write down what time has made of pairings that hold a card past their `expires_at`.

    Whoever needs such a card takes it without waiting for this. Returns how many were ended.
    """
    with context.a_run():
        return _end_overdue()


def _end_overdue() -> int:
    ended = 0
    pairings = Pairing.objects.select_related("subscriber")
    while overdue := list(pairings.overdue(clock.now()).order_by("expires_at")[:BATCH]):
        moved = sum(_lapsed(pairing) for pairing in overdue)
        ended += moved
        if not moved:
            break
    return ended


def _lapsed(pairing: Pairing) -> bool:
    try:
        with transaction.atomic():
            return pairing.lapse()
    except DatabaseError:
        logger.exception("pairing %s could not be ended; the next sweep tries again", pairing.pk)
        return False
