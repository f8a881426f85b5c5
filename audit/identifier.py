"""UUIDv7: identifiers that sort by the time they were made."""

from random import getrandbits
from uuid import UUID

from audit import clock


def new() -> str:
    """A UUIDv7 of now, as 32 hexadecimal digits."""
    return at(clock.timestamp())


def at(timestamp: float) -> str:
    """A UUIDv7 of `timestamp` (seconds), as 32 hexadecimal digits.

    The 12 bits after the millisecond hold its fraction (RFC 9562, 6.2, method 3), so that the
    records of one process sort as they were made. The rest is unique, not secret: Python seeds
    `random` anew after a fork, and the operating system's source costs five times as much.
    """
    milliseconds = timestamp * 1000
    whole = int(milliseconds)
    fraction = int((milliseconds - whole) * 4096)
    noise = getrandbits(62)
    return f"{whole << 80 | 7 << 76 | fraction << 64 | 1 << 63 | noise:032x}"


def made_at(identifier: UUID) -> float:
    """When a UUIDv7 was made, in seconds since the epoch, to the millisecond."""
    return (identifier.int >> 80) / 1000


def new_uuid() -> UUID:
    """`new` as a UUID: the default of a primary key."""
    return UUID(hex=new())
