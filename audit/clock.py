"""The product's wall clock: it keeps its pace when the host's clock jumps.

Codes live for minutes and are compared with `expires_at`. A host whose clock is set forward by an
hour would otherwise expire all of them at once, so the clock is read once, at the start of the
process, and carried on by the monotonic clock.
"""

import time
from datetime import UTC, datetime, timedelta

_started_wall = time.time()
_started_monotonic = time.monotonic()


def now() -> datetime:
    """The time in UTC, unmoved by jumps of the host's clock since this process began."""
    return datetime.fromtimestamp(timestamp(), UTC)


def timestamp() -> float:
    """`now` as seconds since the epoch."""
    return _started_wall + (time.monotonic() - _started_monotonic)


def jump() -> timedelta:
    """How far the host's clock has moved away from this one since the process began."""
    return timedelta(seconds=time.time() - timestamp())
