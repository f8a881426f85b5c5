"""How the id of a refusal leads to the one record that stands for all of its flood.

A flood leaves two records however many it has refused, so its ids say themselves where they belong:
each is a UUIDv7 whose random part is the flood's mark and the number of the refusal in it. The mark
is the records' subject, which has an index.
"""

import re
from datetime import UTC, datetime, timedelta
from random import getrandbits
from typing import NamedTuple

_MARK, _NUMBER = slice(17, 25), slice(25, 32)
_UUID7 = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_EPOCH = datetime.fromtimestamp(0, UTC)


class NoId(ValueError):
    """This text is no id of a decision."""


class Trace(NamedTuple):
    """What an id says: when it was made and, if it is that of a refusal, its place in a flood."""

    id: str
    at: datetime
    mark: str
    number: int


def new_mark() -> str:
    """A flood's mark: 32 bits that tell it from others of the same minute. Unique, not secret."""
    return f"{getrandbits(32):08x}"


def marked(decision_id: str, mark: str, number: int) -> str:
    """The id of the `number`th refusal of a flood; its time is that of `decision_id`."""
    return f"{decision_id[:17]}{mark}{number:07x}"


def subject(mark: str) -> str:
    """What a flood's records are about."""
    return f"refusal:{mark}"


def read(text: str) -> Trace:
    """Reads an id as it was answered, or in the form of a UUID. Raises `NoId`."""
    digits = text.strip().lower().replace("-", "")
    if not _UUID7.fullmatch(digits):
        raise NoId(f"{text!r} is no id of a decision: 32 hexadecimal digits of a UUIDv7")
    at = _EPOCH + timedelta(milliseconds=int(digits[:12], 16))
    return Trace(digits, at, digits[_MARK], int(digits[_NUMBER], 16))
