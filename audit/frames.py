"""How records lie in a spool: a marker byte, the length, CRC-32, then the text.

The text is ASCII, so the marker (0xF5, which no text in ASCII or UTF-8 contains) is where reading
goes on after damage: a record cut short by a full disk or a flipped bit costs itself and no other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from zlib import crc32

MARKER = 0xF5
#: A length beyond this is damage, not a record; `audit.entry` makes far shorter ones.
LONGEST_BYTES = 65_536
_HEADER = Struct("<BII")


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes `start` to `end` of a spool: a record's text, or None where they are damaged."""

    start: int
    end: int
    text: str | None


def pack(text: str) -> bytes:
    """The frame to append for an entry's ASCII text."""
    payload = text.encode()
    return _HEADER.pack(MARKER, len(payload), crc32(payload)) + payload


def scan(data: bytes, start: int, *, final: bool) -> Iterator[Piece]:
    """The pieces of `data`, which lies at `start` of its spool.

    Unless `final`, an unfinished record at the end is left for the next time: its writer may be
    about to finish it. If `final`, its writer is dead, and what is torn is damaged.
    """
    position = 0
    while position < len(data):
        piece = _frame(data, position)
        if piece is None:
            if not final and _is_unfinished(data, position):
                return
            end = _next_frame(data, position + 1)
            if end is None and not final:
                return
            piece = Piece(position, len(data) if end is None else end, None)
        yield Piece(start + piece.start, start + piece.end, piece.text)
        position = piece.end


def _frame(data: bytes, position: int) -> Piece | None:
    payload_start = position + _HEADER.size
    if payload_start > len(data):
        return None
    marker, length, checksum = _HEADER.unpack_from(data, position)
    payload = data[payload_start : payload_start + length] if length <= LONGEST_BYTES else b""
    if marker != MARKER or len(payload) != length or crc32(payload) != checksum:
        return None
    return Piece(position, payload_start + length, payload.decode("ascii", "backslashreplace"))


def _is_unfinished(data: bytes, position: int) -> bool:
    if data[position] != MARKER:
        return False
    if position + _HEADER.size > len(data):
        return True
    length: int = _HEADER.unpack_from(data, position)[1]
    return length <= LONGEST_BYTES and position + _HEADER.size + length > len(data)


def _next_frame(data: bytes, position: int) -> int | None:
    marker = bytes((MARKER,))
    position = data.find(marker, position)
    while position >= 0:
        if _frame(data, position) is not None:
            return position
        position = data.find(marker, position + 1)
    return None
