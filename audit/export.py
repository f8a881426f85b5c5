"""Events for others, with all that proves them: JSON lines, or CSV for a spreadsheet."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from audit.models import Event
from audit.search import Search

PAGE_ROWS = 2_000
FORMATS = ("jsonl", "csv")
COLUMNS = (*(field.attname for field in Event._meta.fields), "user_agent", "detail")
#: A cell that begins so is a formula to a spreadsheet.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def lines(search: Search, form: str, most: int | None = None) -> Iterator[str]:
    """The events, oldest first, as lines with their ends; CSV has a line of names before them."""
    write: Callable[[Event], str] = _as_csv if form == "csv" else _as_json
    if form == "csv":
        yield _csv_line(COLUMNS)
    yield from map(write, islice(events(search), most))


def events(search: Search) -> Iterator[Event]:
    """The events, oldest first, read page by page: as many as there are."""
    found = search.events().order_by("pk")
    page = list(found[:PAGE_ROWS])
    while page:
        yield from page
        page = list(found.filter(pk__gt=page[-1].pk)[:PAGE_ROWS])


def _as_json(event: Event) -> str:
    said = event.shown() | {"id": event.pk.hex, "at": event.at.isoformat()}
    return json.dumps(said, separators=(",", ":")) + "\n"


def _as_csv(event: Event) -> str:
    said = event.shown() | {"id": event.pk.hex, "at": event.at.isoformat()}
    said["detail"] = json.dumps(said["detail"])
    return _csv_line([_harmless(said[name]) for name in COLUMNS])


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _csv_line(cells: Any) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
