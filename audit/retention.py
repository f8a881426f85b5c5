"""Days over their retention are closed, signed and dropped; what is held or broken stays."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction

import audit
from audit import chain, checkpoints, clock, days, partitions, signing, verification
from audit.entry import JSON
from audit.models import Day, Event, Hold, Segment
from audit.signing import Verifier

ACTOR = "system:retention"
BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a day: `what` is dropped, kept (why it is kept), or due with `dry_run`."""

    day: date
    what: str
    events: int
    explanation: str = ""


class Kept(Exception):
    """A day may not be dropped. `code` is held, broken or busy."""

    def __init__(self, code: str, explanation: str) -> None:
        self.code = code
        super().__init__(explanation)


def due() -> list[Day]:
    """The days over their retention that are still there, oldest first."""
    return list(Day.objects.filter(day__lt=days.oldest_open(), dropped_at=None).order_by("day"))


def run(
    *,
    dry_run: bool = False,
    most: int | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Iterator[Outcome]:
    """Close and drop what is due, at most so many days. `progress` hears of rows verified.

    Days are closed in their order, so one that cannot be closed keeps those after it.
    """
    for day in due()[:most]:
        if dry_run:
            yield Outcome(day.day, "due", day.height)
            continue
        try:
            _require_free(day.day)
            if day.closed_at is None:
                day = close(day.day, progress)
            drop(day)
        except Kept as kept:
            yield Outcome(day.day, kept.code, day.height, str(kept))
            if kept.code == "broken":
                break
        else:
            yield Outcome(day.day, "dropped", day.height)
    if not dry_run:
        _drop_empty_partitions()
        _forget_markers()


def close(day: date, progress: Callable[[int], None] = lambda rows: None) -> Day:
    """Prove the day, sign what it ended with, and let nothing more into it. Raises `Kept`."""
    verifier = Verifier()
    directory = Path(settings.AUDIT_CHECKPOINT_DIR)
    try:
        marks = [mark for mark in checkpoints.read(directory) if mark.day == str(day)]
    except checkpoints.Unreadable as error:
        raise Kept("broken", str(error)) from error
    with transaction.atomic():
        row = days.lock(day)
        if row.closed_at is not None:
            return row
        report = verification.check_day(row, marks, verifier, progress=progress)
        if report.fault is not None:
            raise Kept("broken", f"{report.fault.wrong}: {report.fault.explanation}")
        before = Day.objects.filter(day__lt=day).exclude(closing="").order_by("-day").first()
        row.closing = chain.closing(before.closing if before else chain.NOTHING, str(day), row.head)
        row.key_id, row.signature = signing.sign(verification.closing_text(row))
        row.closed_at = clock.now()
        row.save()
        _record("audit.day_closed", row)
    return row


def drop(day: Day) -> None:
    """Drop a closed day's events: a partition on MariaDB, whatever its size. Raises `Kept`."""
    _require_free(day.day)
    text = verification.closing_text(day)
    if day.closed_at is None or not Verifier().signed(text, day.key_id, day.signature):
        raise Kept("broken", "the day is not closed and signed by our key")
    if partitions.are_used():
        try:
            if day.day in partitions.of_days():
                partitions.drop(day.day)
        except partitions.Busy as error:
            raise Kept("busy", str(error)) from error
    else:
        _delete_events(day.day)
    with transaction.atomic():
        Day.objects.filter(pk=day.pk).update(dropped_at=clock.now())
        _record("audit.day_dropped", day)


def held(day: date) -> Hold | None:
    """A legal hold on the day, if there is one."""
    return Hold.objects.filter(
        first_day__lte=day, last_day__gte=day, released_at__isnull=True
    ).first()


def place_hold(first: date, last: date, *, reason: str, owner: str, actor: str) -> Hold:
    """Keep the events of these days until the hold is released; `owner` demands it."""
    with transaction.atomic():
        hold = Hold.objects.create(first_day=first, last_day=last, reason=reason, owner=owner)
        _record_hold("audit.hold_placed", hold, actor)
    return hold


def release_hold(hold: Hold, *, actor: str) -> None:
    """End a hold. Twice is once."""
    with transaction.atomic():
        open_ones = Hold.objects.filter(pk=hold.pk, released_at__isnull=True)
        if open_ones.update(released_at=clock.now()):
            _record_hold("audit.hold_released", hold, actor)


def _require_free(day: date) -> None:
    if hold := held(day):
        raise Kept("held", f"legal hold of {hold.owner}: {hold.reason}")


def _delete_events(day: date) -> None:
    bounds = {"pk__gte": days.floor(day), "pk__lt": days.floor(day + timedelta(days=1))}
    while keys := list(Event.objects.filter(**bounds).values_list("pk", flat=True)[:BATCH_ROWS]):
        Event.objects.filter(pk__in=keys).delete()


def _drop_empty_partitions() -> None:
    """Days on which nothing happened have no row to be closed, but a partition."""
    kept = set(Day.objects.filter(dropped_at=None).values_list("day", flat=True))
    for day in partitions.of_days():
        if day < days.oldest_open() and day not in kept:
            with suppress(partitions.Busy):
                partitions.drop(day)


def _forget_markers() -> None:
    """A spool that was stored before the oldest day is not sent again."""
    before = datetime.combine(days.oldest_open(), time.min, UTC)
    old = Segment.objects.filter(stored_at__lt=before).order_by("pk")
    while keys := list(old.values_list("pk", flat=True)[:BATCH_ROWS]):
        Segment.objects.filter(pk__in=keys).delete()


def _record(action: str, day: Day) -> None:
    detail: dict[str, JSON] = {"events": day.height, "closing": day.closing}
    audit.record_with_change(action, subject=f"day:{day}", actor=ACTOR, detail=detail)


def _record_hold(action: str, hold: Hold, actor: str) -> None:
    span = {"first_day": str(hold.first_day), "last_day": str(hold.last_day)}
    detail: dict[str, JSON] = {**span, "reason": hold.reason}
    audit.record_with_change(action, subject=f"hold:{hold.pk}", actor=actor, detail=detail)
