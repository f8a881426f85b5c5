"""Events for others, with all that proves them: JSON lines, or CSV for a spreadsheet."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from audit import bounded
from audit.models import Event
from audit.search import Search

PAGE_ROWS = 2_000
FORMATS = ("jsonl", "csv")
COLUMNS = (*(field.attname for field in Event._meta.fields), "user_agent", "detail")
#: A cell that begins so is a formula to a spreadsheet. An apostrophe before it makes it text;
#: `entry`, which begins with a bracket, always says what the cell was.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def lines(
    search: Search, form: str, most: int | None = None, longest_s: float | None = None
) -> Iterator[str]:
    """The events, oldest first, as lines with their ends; CSV has a line of names before them.

    At most `most` of them. A page that takes longer than `longest_s` raises `bounded.TooLong`: the
    first one here, before there is a line, a later one amid the lines.
    """
    found = islice(events(search, longest_s), most)
    first = list(islice(found, 1))
    return _written(chain(first, found), form)


def events(
    search: Search, longest_s: float | None = None, actions: Sequence[str] = ()
) -> Iterator[Event]:
    """The events, oldest first, read page by page: as many as there are.

    With `actions`, those of any of them: time alone narrows what is read.
    """
    found = search.events().order_by("pk")
    if actions:
        found = found.filter(action__in=actions)
    with bounded.within(longest_s):
        page = list(found[:PAGE_ROWS])
    while page:
        yield from page
        with bounded.within(longest_s):
            page = list(found.filter(pk__gt=page[-1].pk)[:PAGE_ROWS])


def _written(found: Iterator[Event], form: str) -> Iterator[str]:
    write: Callable[[Event], str] = _as_csv if form == "csv" else _as_json
    if form == "csv":
        yield _csv_line(COLUMNS)
    yield from map(write, found)


def _as_json(event: Event) -> str:
    return json.dumps(_said(event), separators=(",", ":")) + "\n"


def _as_csv(event: Event) -> str:
    said = _said(event)
    said["detail"] = json.dumps(said["detail"])
    return _csv_line([_harmless(said[name]) for name in COLUMNS])


def _said(event: Event) -> dict[str, Any]:
    return event.shown() | {"id": event.pk.hex, "at": event.at.isoformat()}


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _csv_line(cells: Any) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
