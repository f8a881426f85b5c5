"""The dashboard's server-sent events: first what is kept, then what is new each second.

No thread and no slot belongs to a stream: `Serving` runs it in the event loop.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Sequence

from ratelimit.store import StoreAway
from stabilizer.ops import history
from stabilizer.ops.collector import Collector, columns

#: One reading serves all who look at this process within this time.
FRESH_S = 0.9
EVERY_S = 1.0
#: Then the browser connects again, and is asked again whether it may look.
STREAM_S = 300.0
#: Streams of one process.
MOST = 50
SOON_MS = 1_000
#: Keeps proxies from closing what is silent.
COMMENT = b":\n\n"


class Feed:
    """What the pages of one process are told. Lives in the event loop of its collector."""

    def __init__(self, collector: Collector, *, stream_s: float = STREAM_S) -> None:
        self._collector = collector
        self._stream_s = stream_s
        self._newest: str | None = None
        self._read_at = float("-inf")
        self._closed = asyncio.Event()
        self.open = 0

    @property
    def is_full(self) -> bool:
        return self.open >= MOST

    async def close(self) -> None:
        """End all streams: this process ends, and their browsers are to find another."""
        self._closed.set()

    async def stream(self, rows: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The events: `history` with the `rows` that are kept, then `now` as often as it is new."""
        self.open += 1
        try:
            yield f"retry: {SOON_MS}\n\n".encode() + _history(rows)
            ends_at = time.monotonic() + self._stream_s
            last = None
            while time.monotonic() < ends_at and not self._closed.is_set():
                newest = await self._now()
                yield (
                    COMMENT
                    if newest in (None, last)
                    else f"event: now\ndata: {newest}\n\n".encode()
                )
                last = newest
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), EVERY_S)
        finally:
            self.open -= 1

    async def _now(self) -> str | None:
        now = time.monotonic()
        if now - self._read_at >= FRESH_S:
            self._read_at = now
            self._newest = await self._read()
        return self._newest

    async def _read(self) -> str | None:
        try:
            found = await history.now(self._collector.store)
        except StoreAway:
            found = None
        return found or self._collector.alone


def _history(rows: Sequence[str]) -> bytes:
    names = json.dumps(columns())
    return f'event: history\ndata: {{"columns":{names},"rows":[{",".join(rows)}]}}\n\n'.encode()


_feed: Feed | None = None


def install(feed: Feed) -> None:
    """Make `feed` the one of this process."""
    global _feed
    _feed = feed


def shared() -> Feed | None:
    """This process's feed; None where no event loop serves it, as under WSGI."""
    return _feed
