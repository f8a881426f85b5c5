"""Signed marks of how far the trail had come, kept where whoever owns the database is not.

A line of JSON for each day whose chain grew, appended once a minute to one file a month. Who cuts
the tail of a chain, or makes all its hashes anew, cannot make the lines anew. A copy on another
host protects them from whoever owns this one (docs/operations.md).
"""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from audit import clock, signing
from audit.chain import Link
from audit.models import Day
from audit.signing import Verifier

logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`day` had `height` events, the last of which was sealed with `hash`."""

    day: str
    height: int
    hash: str
    at: str
    key_id: str = ""
    signature: str = ""

    @property
    def head(self) -> Link:
        return Link(self.height, self.hash)

    @property
    def text(self) -> str:
        """What is signed."""
        return f"checkpoint {self.day} {self.height} {self.hash} {self.at}"

    def is_signed(self, verifier: Verifier) -> bool:
        return verifier.signed(self.text, self.key_id, self.signature)


class Unreadable(ValueError):
    """A line of a file is no checkpoint. Carries where."""


def write(directory: Path) -> int:
    """Append a checkpoint of each day that grew since its last one; how many. Raises OSError."""
    known = {mark.day: mark.height for mark in _latest(directory)}
    now = clock.now()
    grown = [
        day
        for day in Day.objects.filter(closed_at=None, height__gt=0).order_by("day")
        if known.get(str(day)) != day.height
    ]
    if not grown:
        return 0
    marks = [_signed(day, now.isoformat(timespec="milliseconds")) for day in grown]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / f"{now:%Y-%m}{SUFFIX}").open("a", encoding="ascii") as file:
        file.writelines(json.dumps(asdict(mark)) + "\n" for mark in marks)
        file.flush()
        os.fsync(file.fileno())
    return len(marks)


def read(directory: Path) -> Iterator[Checkpoint]:
    """All checkpoints, in the order in which they were written. Raises `Unreadable`."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with path.open(encoding="ascii", errors="backslashreplace") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield Checkpoint(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise Unreadable(f"{path}:{number}: {error}") from error


def _signed(day: Day, at: str) -> Checkpoint:
    mark = Checkpoint(str(day), day.height, day.hash, at)
    key_id, signature = signing.sign(mark.text)
    return Checkpoint(mark.day, mark.height, mark.hash, at, key_id, signature)


def _latest(directory: Path) -> list[Checkpoint]:
    """The last checkpoint of each day that the two newest files name."""
    latest: dict[str, Checkpoint] = {}
    for path in sorted(directory.glob(f"*{SUFFIX}"))[-2:]:
        for line in path.read_text(encoding="ascii", errors="backslashreplace").splitlines():
            try:
                mark = Checkpoint(**json.loads(line))
            except (ValueError, TypeError):
                logger.error("audit: %s has a line that is no checkpoint", path)
                continue
            latest[mark.day] = mark
    return list(latest.values())
