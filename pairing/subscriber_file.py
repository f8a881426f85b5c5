"""The CSV file of subscribers: one smartcard per row, read line by line.

A cell holds no line break, so each line stands for itself: a quote that is never closed spoils its
own line and does not swallow those after it.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pairing.models import Subscriber
from pairing.serializers import CODE

COLUMNS = ("subscriber_code", "name", "sn", "login1", "password", "pin", "packages", "state")
LONGEST = {
    "subscriber_code": 64,
    "name": 200,
    "sn": 64,
    "login1": 200,
    "password": 200,
    "pin": 200,
    "packages": 2000,
    "state": 16,
}
LONGEST_LINE_BYTES = 64 * 1024
BOM = b"\xef\xbb\xbf"

_IDENTIFIER = re.compile(CODE)
_SEPARATOR = re.compile(r"[;|\s]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class UnreadableFile(Exception):
    """The file cannot be imported at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One good line. An empty text says nothing about what is stored."""

    line: int
    subscriber_code: str
    name: str = ""
    sn: str = ""
    login1: str = ""
    password: str = ""
    pin: str = ""
    packages: tuple[str, ...] = ()
    state: str = ""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is not imported: its number, the column at fault if there is one, and why."""

    line: int
    column: str
    reason: str


def read(file: BinaryIO) -> Iterator[Row | BadRow]:
    """Each line after the header, as a row or as what is wrong with it; empty lines are left out.

    Raises `UnreadableFile` when the header is not the expected one.
    """
    columns = _header(file.readline(LONGEST_LINE_BYTES))
    for line, raw in _lines(file):
        if raw is None:
            yield BadRow(line, "", "line_too_long")
        elif raw.strip():
            yield _row(line, raw, columns)


def _header(raw: bytes) -> list[str]:
    try:
        text = raw.removeprefix(BOM).decode().rstrip("\r\n")
        columns = [name.strip().lower() for name in next(csv.reader([text], strict=True), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile("the first line is not a CSV header in UTF-8") from error
    if not columns or "subscriber_code" not in columns:
        raise UnreadableFile(f"the header lacks subscriber_code; expected {','.join(COLUMNS)}")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or len(set(columns)) != len(columns):
        raise UnreadableFile(
            f"the header has unknown or repeated columns; expected {','.join(COLUMNS)}"
        )
    return columns


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, the header being line 1; None for one longer than `LONGEST_LINE_BYTES`."""
    number = 1
    while raw := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(raw) <= LONGEST_LINE_BYTES:
            yield number, raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = file.readline(LONGEST_LINE_BYTES)
        yield number, None


def _row(line: int, raw: bytes, columns: list[str]) -> Row | BadRow:
    text = raw.decode(errors="surrogateescape").rstrip("\r\n")
    try:
        cells = next(csv.reader([text], strict=True))
    except csv.Error:
        return BadRow(line, "", "malformed")
    if len(cells) != len(columns):
        return BadRow(line, "", "wrong_number_of_cells")
    values = dict(zip(columns, cells, strict=True))
    for column, cell in values.items():
        if column != "password":
            values[column] = cell = cell.strip()
        if reason := _fault(column, cell):
            return BadRow(line, column, reason)
    packages = values.pop("packages", "")
    return Row(line, packages=tuple(_SEPARATOR.split(packages)) if packages else (), **values)


def _fault(column: str, cell: str) -> str:
    """The reason why `cell` cannot stand in `column`, or an empty text."""
    if bad := _CONTROL.search(cell):
        if bad[0] == "\0":
            return "nul"
        return "not_utf8" if bad[0] >= "\ud800" else "control_character"
    if len(cell) > LONGEST[column]:
        return "too_long"
    if column == "subscriber_code" and not cell:
        return "missing"
    if cell and column in ("subscriber_code", "sn") and not _IDENTIFIER.fullmatch(cell):
        return "bad_characters"
    if cell and column == "state" and cell not in Subscriber.State.values:
        return "unknown_state"
    return ""
