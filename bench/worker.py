"""The application of a measured worker: the product's, with tasks that only cost something."""

import os
from functools import cache
from typing import Any

import redis
from celery import Task
from celery.signals import worker_ready

from bench.chores import BEGUN, DONE, PLAIN, READY, YIELDING
from stabilizer.celery import app

#: Of smartcards, in each task: as long as a batch of the product's sweep, so many times.
BATCH, BATCHES = 200, 4


@app.task(name=YIELDING)  # type: ignore[untyped-decorator]
def yielding(number: int) -> None:
    _do(number)


@app.task(name=PLAIN, base=Task)  # type: ignore[untyped-decorator]
def plain(number: int) -> None:
    _do(number)


@worker_ready.connect  # type: ignore[untyped-decorator]
def tell_ready(**_: Any) -> None:
    print(READY, flush=True)


@cache
def marks() -> Any:
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def _do(number: int) -> None:
    marks().rpush(BEGUN, number)
    _sweep()
    marks().rpush(DONE, number)


def _sweep() -> None:
    """Go through pairings and smartcards as the product's sweep does, and change nothing."""
    # Models can be imported only when Django is set up, which the worker does later.
    from audit import clock
    from pairing.models import Pairing, Smartcard

    list(Pairing.objects.overdue(clock.now()).order_by("expires_at")[:BATCH])
    cards = Smartcard.objects.select_related("subscriber", "active_pairing").order_by("pk")
    for first in range(0, BATCHES * BATCH, BATCH):
        list(cards[first : first + BATCH])
