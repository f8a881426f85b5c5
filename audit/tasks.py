"""Celery's side of the trail: what `manage.py audit ship` hands over, and what runs by the clock.

A late or doubled run of any of these is harmless. Segments travel in a queue of their own, so that
no other work stands in their way.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError

from audit import checkpoints, context, ingest, outbox, partitions, retention, shipping

logger = logging.getLogger(__name__)

QUEUE = "audit"
#: A day of five million events is proven in a few minutes before it is dropped.
RETENTION_LIMIT_S = 1800
#: Celery comes without types.
task: Callable[..., Callable[[Callable[..., None]], Any]] = shared_task


@task(
    name="audit.tasks.store",
    ignore_result=True,
    acks_late=True,
    reject_on_worker_lost=True,
    # A deadlock or a lost connection passes. When these tries are used up, the shipper's come.
    autoretry_for=(OperationalError, InterfaceError),
    max_retries=3,
    retry_backoff=1,
    retry_jitter=True,
)
def store(parcel: dict[str, Any]) -> None:
    """Put a segment into the trail; one that is there already stays as it is."""
    ingest.store_segment(shipping.Parcel(**parcel))


@task(name="audit.tasks.move_outbox", ignore_result=True)
def move_outbox() -> None:
    """Move the records of committed changes into the trail until none is left."""
    while outbox.move() == outbox.BATCH_ROWS:
        pass


@task(name="audit.tasks.checkpoint", ignore_result=True)
def checkpoint() -> None:
    """Sign how far each day's chain has come."""
    checkpoints.write(Path(settings.AUDIT_CHECKPOINT_DIR))


@task(name="audit.tasks.make_partitions", ignore_result=True)
def make_partitions() -> None:
    """Have a partition for each of the days to come."""
    try:
        partitions.make_ahead()
    except partitions.Busy as error:
        logger.warning("audit: %s; tried again within the hour", error)
    for name in partitions.spilled():
        logger.error("audit: partition %s holds events, and should be empty", name)


@task(
    name="audit.tasks.retain",
    ignore_result=True,
    # Given back to the queue it would be done twice.
    acks_late=False,
    time_limit=RETENTION_LIMIT_S,
)
def retain() -> None:
    """Close, sign and drop the oldest day that is over its retention."""
    with context.a_run():
        outcomes = list(retention.run(most=1))
    for outcome in outcomes:
        if outcome.what != "dropped":
            logger.error("audit: %s stays, %s: %s", outcome.day, outcome.what, outcome.explanation)


def hand_over(parcel: shipping.Parcel) -> None:
    """Give a segment to the workers. Raises what the broker does."""
    store.apply_async(args=[asdict(parcel)], queue=QUEUE)
