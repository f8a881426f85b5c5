"""Proves that the trail is what was written, or names the first row that is not."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection

from audit import chain, days, entry
from audit.chain import Link
from audit.checkpoints import Checkpoint
from audit.models import Day, Event
from audit.signing import Verifier

#: Rows read at a time.
PAGE_ROWS = 2_000
_SAID = tuple(name for name in entry.COLUMNS if name not in ("id", "at"))
_INDEX = "audit_event_number"


class Wrong(StrEnum):
    #: The row, or one before it in number, is not as it was sealed: edited or swapped.
    ALTERED = "altered"
    #: A row between others is gone.
    MISSING = "missing"
    #: The last rows are gone.
    CUT = "cut"
    #: All hashes agree, but not with what was signed: made anew from some row on.
    REBUILT = "rebuilt"
    #: The day's row in `audit_day` does not agree with its events.
    HEAD = "head"
    #: A checkpoint, or the closing of a day, is not signed by a known key.
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row of a day that is wrong; `event` is empty where there is no such row."""

    wrong: Wrong
    day: str
    #: The place in the day's chain.
    number: int
    event: str
    explanation: str


@dataclass(frozen=True, slots=True)
class DayReport:
    """What a day's verification came to; `events` were found right, up to `fault` if any."""

    day: str
    events: int
    checkpoints: int
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    number: int
    hash: str
    producer: str
    entry: str
    at: Any
    said: tuple[Any, ...]


def verify(
    marks: Sequence[Checkpoint],
    verifier: Verifier,
    *,
    first: date | None = None,
    last: date | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Iterator[DayReport]:
    """Each day's report, oldest first; `progress` hears of the rows that were read.

    Days that were dropped are proven by their closing hashes, which are one chain.
    """
    by_day: defaultdict[str, list[Checkpoint]] = defaultdict(list)
    for mark in marks:
        by_day[mark.day].append(mark)
    known = {str(day): day for day in Day.objects.all()}
    previous = chain.NOTHING
    for name in sorted({*known, *by_day}):
        day = known.get(name) or Day(day=date.fromisoformat(name))
        asked = (first is None or day.day >= first) and (last is None or day.day <= last)
        if asked:
            yield check_day(day, by_day[name], verifier, previous=previous, progress=progress)
        previous = day.closing or previous


def check_day(
    day: Day,
    marks: Sequence[Checkpoint],
    verifier: Verifier,
    *,
    previous: str = "",
    progress: Callable[[int], None] = lambda rows: None,
) -> DayReport:
    """One day's report. `previous` is the closing hash of the day closed before it."""
    name = str(day)
    for mark in marks:
        if not mark.is_signed(verifier):
            fault = Fault(Wrong.UNSIGNED, name, mark.height, "", f"checkpoint of {mark.at}")
            return DayReport(name, 0, len(marks), fault)
    if day.closed_at is not None and (wrong := _check_closing(day, previous, verifier)):
        return DayReport(name, 0, len(marks), wrong)
    if day.dropped_at is not None:
        return DayReport(name, day.height, len(marks))
    head, wrong = _follow(day.day, marks, progress)
    return DayReport(name, head.number, len(marks), wrong or _check_end(day, head, marks))


def closing_text(day: Day) -> str:
    """What is signed when a day is closed."""
    return f"closing {day} {day.closing}"


def _follow(
    day: date, marks: Sequence[Checkpoint], progress: Callable[[int], None]
) -> tuple[Link, Fault | None]:
    """Walks the chain as far as it holds."""
    expected = {mark.height: mark.hash for mark in marks}
    proven, head = chain.START, chain.START
    after_proven = ""
    for row in _rows(day, progress):
        if wrong := _look(day, row, head):
            return head, wrong
        head = Link(row.number, row.hash)
        after_proven = after_proven or row.id
        if head.number in expected:
            if expected[head.number] != head.hash:
                why = f"signed otherwise; what was signed before ends with number {proven.number}"
                return proven, Fault(Wrong.REBUILT, str(day), proven.number + 1, after_proven, why)
            proven, after_proven = head, ""
    return head, None


def _look(day: date, row: _Row, head: Link) -> Fault | None:
    """What is wrong with the row that comes after `head`."""
    if row.number > head.number + 1:
        why = f"the next event is number {row.number}, {row.id}"
        return Fault(Wrong.MISSING, str(day), head.number + 1, "", why)
    link = head.next(row.producer, row.entry)
    if (row.number, row.hash) != link:
        return Fault(Wrong.ALTERED, str(day), row.number, row.id, "not the entry that was sealed")
    if different := _different(row):
        why = f"columns that do not say what the entry says: {', '.join(different)}"
        return Fault(Wrong.ALTERED, str(day), row.number, row.id, why)
    return None


def _different(row: _Row) -> list[str]:
    try:
        said = entry.decode(row.entry)
    except entry.Unstorable as error:
        return [str(error)]
    shown = {"id": row.id, "at": row.at, **dict(zip(_SAID, row.said, strict=True))}
    adapt = connection.ops.adapt_datetimefield_value
    said["at"] = str(adapt(said["at"]))
    shown["at"] = str(shown["at"])
    return [name for name in ("id", "at", *_SAID) if shown[name] != said[name]]


def _check_end(day: Day, head: Link, marks: Sequence[Checkpoint]) -> Fault | None:
    name = str(day)
    highest = max(marks, key=lambda mark: mark.height, default=None)
    if highest is not None and highest.height > head.number:
        why = f"at {highest.at} there were {highest.height} events"
        return Fault(Wrong.CUT, name, head.number + 1, "", why)
    if day.height > head.number:
        why = f"the day's head counts {day.height} events"
        return Fault(Wrong.CUT, name, head.number + 1, "", why)
    if day.head != head:
        why = f"the day's head is number {day.height}, the last event is number {head.number}"
        return Fault(Wrong.HEAD, name, day.height, "", why)
    return None


def _check_closing(day: Day, previous: str, verifier: Verifier) -> Fault | None:
    name = str(day)
    if not verifier.signed(closing_text(day), day.key_id, day.signature):
        return Fault(Wrong.UNSIGNED, name, day.height, "", "the closing of the day")
    if day.closing != chain.closing(previous, name, day.head):
        why = "its closing does not follow from its head and the day closed before"
        return Fault(Wrong.HEAD, name, day.height, "", why)
    return None


def _rows(day: date, progress: Callable[[int], None]) -> Iterator[_Row]:
    """The day's events by number."""
    last = 0
    while page := _page(day, last):
        yield from page
        last = page[-1].number
        progress(len(page))


def _page(day: date, after: int) -> list[_Row]:
    # Rows of equal number, which only a forger makes, may be cut by a page's end: then the next
    # row's number does not follow, and that is what is told.
    quote = connection.ops.quote_name
    force = f"FORCE INDEX ({_INDEX})" if connection.vendor == "mysql" else ""
    columns = ("id", "number", "hash", "producer", "entry", "at", *_SAID)
    key = Event._meta.pk
    bounds = [days.floor(day), days.floor(day + timedelta(days=1))]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(map(quote, columns))} FROM {quote(Event._meta.db_table)} {force}"  # noqa: S608
            " WHERE id >= %s AND id < %s AND number > %s ORDER BY number LIMIT %s",
            [*(key.get_db_prep_value(bound, connection) for bound in bounds), after, PAGE_ROWS],
        )
        return [_row(each) for each in cursor.fetchall()]


def _row(columns: Sequence[Any]) -> _Row:
    key, number, digest, producer, text, at, *said = columns
    event_id = str(key).replace("-", "")
    return _Row(event_id, number, digest, producer, text, at, tuple(said))
