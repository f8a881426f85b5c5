"""Many events at once, past the spool: for tests of how they are read. Their chain is not real."""

import random
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from audit import days, identifier, partitions
from audit.models import Event

ACTIONS = ("gate.refused", "pairing.created", "pairing.approved", "login.failed")


def fill(first: date, per_day: int) -> list[Event]:
    """Events from `first` to yesterday, the same number a day, and a partition for each day."""
    if partitions.are_used():
        divide(first)
    beginning = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()
    step_s = 24 * 3600 / per_day
    count = (days.today() - first).days * per_day
    draws = random.Random(1)
    events = [_event(beginning + (number + 0.5) * step_s, number, draws) for number in range(count)]
    Event.objects.bulk_create(events, batch_size=500)
    if partitions.are_used():
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE TABLE audit_event")
            cursor.fetchall()
    return events


def divide(first: date) -> None:
    """Give the days since `first` a partition each, instead of those that are there."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event REMOVE PARTITIONING")
    partitions.first_split(first)


def _event(timestamp: float, number: int, draws: random.Random) -> Event:
    return Event(
        id=identifier.at(timestamp),
        at=datetime.fromtimestamp(0, UTC) + timedelta(seconds=timestamp),
        action=draws.choice(ACTIONS),
        outcome="ok",
        severity="info",
        subject=f"pairing:{draws.randrange(500)}",
        actor=f"device:{draws.randrange(200)}",
        tenant="acme" if draws.random() < 0.1 else "demo",
        request_id=f"{number:032x}",
        address="203.0.113.7",
        producer="test",
        entry="[]",
        number=number + 1,
        hash="0" * 64,
    )
