"""Celery's side of the trail.

`ship` and `move_outbox` are scheduled every second; a late or doubled run is harmless. Segments
travel in a queue of their own, so that no other work stands in their way.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError

from audit import ingest, outbox, shipping

QUEUE = "audit"
#: Celery comes without types.
task: Callable[..., Callable[[Callable[..., None]], Any]] = shared_task


@task(name="audit.tasks.ship", ignore_result=True)
def ship() -> None:
    """Hand this host's spooled records to `store`, segment by segment."""
    shipping.ship(Path(settings.AUDIT_SPOOL_DIR), _hand_over)


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


def _hand_over(parcel: shipping.Parcel) -> None:
    store.apply_async(args=[asdict(parcel)], queue=QUEUE)
