"""Puts entries into the trail: a batch in one INSERT, and what cannot be stored aside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DataError, IntegrityError, OperationalError, connection, transaction

from audit import entry
from audit.models import DeadLetter, Event, Segment
from audit.shipping import Parcel

#: What the database says of a value that it will not take: MariaDB's 1264 out of range, 1292 and
#: 1366 incorrect value, 1406 too long. All else it says may be over at the next try.
_VALUE_ERRORS = frozenset({1264, 1292, 1366, 1406})
_COLUMNS = Event._meta.concrete_fields


@dataclass(frozen=True, slots=True)
class Letter:
    """An entry on its way into the trail."""

    entry: str
    producer: str
    source: str

    def event(self) -> Event:
        """Raises `entry.Unstorable`."""
        return Event(producer=self.producer, **entry.decode(self.entry))

    def dead(self, reason: str) -> DeadLetter:
        return DeadLetter(
            source=self.source, producer=self.producer, reason=reason, entry=self.entry
        )


def store_segment(parcel: Parcel) -> bool:
    """Insert a segment's events and its marker in one transaction; False if it was there."""
    source = f"{parcel.spool}/{parcel.number}"
    letters = [Letter(text, parcel.producer, source) for text in parcel.entries]
    torn = [Letter(text, parcel.producer, source) for text in parcel.damaged]
    marker = Segment(
        spool=parcel.spool,
        number=parcel.number,
        start_byte=parcel.start_byte,
        end_byte=parcel.end_byte,
        events=len(letters),
        damaged=len(torn),
    )
    try:
        with transaction.atomic():
            # The marker first: who else brings this segment waits for it, and has nothing to do.
            marker.save(force_insert=True)
            dead = store(letters) + [letter.dead("damaged in the spool") for letter in torn]
            DeadLetter.objects.bulk_create(dead)
    except IntegrityError:
        if Segment.objects.filter(spool=parcel.spool, number=parcel.number).exists():
            return False
        raise
    return True


def store(letters: Sequence[Letter]) -> list[DeadLetter]:
    """Insert the letters' events; returns, unsaved, those that cannot be stored.

    An event that is there already stays as it is. Runs in the caller's transaction; errors that are
    not a value's fault (deadlock, connection lost) are raised.
    """
    readable: list[tuple[Letter, Event]] = []
    dead: list[DeadLetter] = []
    for letter in letters:
        try:
            readable.append((letter, letter.event()))
        except entry.Unstorable as error:
            dead.append(letter.dead(str(error)))
    readable.sort(key=lambda pair: pair[1].id)
    return dead + _insert_or_bisect(readable)


def _insert_or_bisect(pairs: Sequence[tuple[Letter, Event]]) -> list[DeadLetter]:
    """Halves a batch that the database refuses until what it refuses stands alone."""
    if not pairs:
        return []
    try:
        with transaction.atomic():
            _insert([event for _, event in pairs])
    except (DataError, IntegrityError, OperationalError, ValueError, OverflowError) as error:
        if isinstance(error, OperationalError) and error.args[0] not in _VALUE_ERRORS:
            raise
        if len(pairs) == 1:
            return [pairs[0][0].dead(f"{type(error).__name__}: {error}")]
        middle = len(pairs) // 2
        return _insert_or_bisect(pairs[:middle]) + _insert_or_bisect(pairs[middle:])
    return []


def _insert(events: Sequence[Event]) -> None:
    """One INSERT. Not INSERT IGNORE, which on MariaDB cuts texts and drops rows unsaid."""
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in _COLUMNS)
    row = "(" + ", ".join(["%s"] * len(_COLUMNS)) + ")"
    key = quote("id")
    keep = (
        f"ON DUPLICATE KEY UPDATE {key} = {key}"
        if connection.vendor == "mysql"
        else f"ON CONFLICT ({key}) DO NOTHING"
    )
    rows = ", ".join([row] * len(events))
    values: list[Any] = [
        field.get_db_prep_save(getattr(event, field.attname), connection)
        for event in events
        for field in _COLUMNS
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(Event._meta.db_table)} ({columns}) VALUES {rows} {keep}",  # noqa: S608
            values,
        )
