"""What this process knows of pairings that wait: enough to say "still pending" without a query.

It is the copy of the push channel. What a poll has read is kept until a change of the pairing is
heard, and used only while changes *are* heard: an answer is given as long as the subscription has
proven within `FRESH_S` that it lives. So whatever happens to it, an approval is seen by the first
poll that comes `FRESH_S` after it. Nobody here knows the channel; whoever listens to it tells.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from audit import clock

#: For so long after the last proof of life of the subscription what is known is said.
FRESH_S = 0.9
#: How often the subscription is to prove it.
PROOF_S = 0.2
#: Then a pairing is read again: a change is not published at all if its process dies right after
#: the commit, and tried no longer than this if its own way to Redis is broken.
OLDEST_S = 15.0
#: What took longer to read may have changed since.
SLOW_S = 1.0
MOST = 20_000


class Known(NamedTuple):
    """A pairing that waited when it was read."""

    id: UUID
    version: int
    udid: str
    client_id: int
    user_code: str
    expires_at: datetime


class Mark(NamedTuple):
    """The moment before a pairing is read."""

    gap: int
    at: float


class Pending:
    """The pairings that wait, as one process has read and heard of them; safe from any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        #: By digest of its device_code, with the moment before it was read.
        self._known: OrderedDict[str, tuple[Known, float]] = OrderedDict()
        self._digests: dict[UUID, str] = {}
        #: Versions heard of lately: what is being read meanwhile may be older.
        self._heard: OrderedDict[UUID, int] = OrderedDict()
        #: Counts the times after which something may not have been heard.
        self._gap = 0
        self._alive_at = float("-inf")

    def mark(self) -> Mark:
        """Take it before a pairing is read that is to be remembered."""
        return Mark(self._gap, self._now())

    def remember(self, digest: str, known: Known, mark: Mark) -> None:
        """Keep what was read, unless something newer was heard, or may have been said, since."""
        with self._lock:
            now = self._now()
            if mark.gap != self._gap or now - mark.at > SLOW_S or now - self._alive_at > FRESH_S:
                return
            if self._heard.get(known.id, 0) > known.version:
                return
            self._forget(digest)
            self._known[digest] = (known, mark.at)
            self._digests[known.id] = digest
            if len(self._known) > MOST:
                self._forget(next(iter(self._known)))

    def find(self, digest: str) -> Known | None:
        """The pairing if it is known to wait still; None: ask the database."""
        with self._lock:
            now = self._now()
            known, read_at = self._known.get(digest, (None, 0.0))
            if known is None or now - self._alive_at > FRESH_S:
                return None
            if now - read_at > OLDEST_S or known.expires_at <= clock.now():
                self._forget(digest)
                return None
            return known

    def changed(self, id: UUID, version: int) -> None:
        """A change was heard, here or from another process."""
        with self._lock:
            self._heard[id] = max(version, self._heard.pop(id, 0))
            if len(self._heard) > MOST:
                self._heard.popitem(last=False)
            digest = self._digests.get(id)
            if digest is not None and self._known[digest][0].version < version:
                self._forget(digest)

    def missed(self) -> None:
        """Something may not have been heard: nothing is known any more."""
        with self._lock:
            self._gap += 1
            self._known.clear()
            self._digests.clear()

    def alive(self, at: float) -> None:
        """All that was published before `at`, by the monotonic clock, has been heard."""
        self._alive_at = max(self._alive_at, at)

    def _forget(self, digest: str) -> None:
        entry = self._known.pop(digest, None)
        if entry is not None:
            self._digests.pop(entry[0].id, None)


shared = Pending()


def on_changed(sender: Any, *, id: UUID, version: int, **_: Any) -> None:
    """Receives `signals.changed`: what this process itself changes needs no channel."""
    shared.changed(id, version)
