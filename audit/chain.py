"""A chain of hashes over the trail's rows: who changes one has to change all that follow it.

Each UTC day is a chain of its own, so that a day can be dropped and the others still prove what
they hold. After Kelsey and Schneier, "Secure Audit Logs to Support Computer Forensics" (1999),
section 2.2, without its evolving key: what proves the tail is a checkpoint that is signed and kept
outside the database (`audit.checkpoints`).
"""

from hashlib import sha256
from typing import NamedTuple

#: Comes before a day's first row, and before the first day that was closed.
NOTHING = "0" * 64


class Link(NamedTuple):
    """A row's place in its day's chain: its number from 1, and the hash of all up to it (hex)."""

    number: int
    hash: str

    def next(self, producer: str, entry: str) -> "Link":
        """The link of the row that holds these texts, byte for byte."""
        number = self.number + 1
        text = f"{self.hash} {number} {producer} {entry}"
        return Link(number, sha256(text.encode()).hexdigest())


START = Link(0, NOTHING)


def closing(previous: str, day: str, head: Link) -> str:
    """The hash of a closed day (as in 2026-11-26) and, through `previous`, of those before."""
    return sha256(f"{previous} {day} {head.number} {head.hash}".encode()).hexdigest()
