"""What this process knows of pairings that wait: enough to say "still pending" without a query.

It is the copy of the push channel. What a poll has read is kept until a change of the pairing is
heard, and used only while changes *are* heard: the subscription has to have proven within `FRESH_S`
that it lives. A change may still never be said, if its process dies right after the commit; so all
that is used is compared with the database as well, by one query for all, within the same time. An
approval is seen by the first poll that comes `FRESH_S` after it, whatever fails. Nobody here knows
the channel; whoever listens to it tells.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from audit import clock

#: For so long after the last proof of life of the subscription, and after the last look at the
#: pairing itself, what is known is said.
FRESH_S = 0.9
#: How often the subscription is to prove it.
PROOF_S = 0.2
#: Devices that did not ask for so long are not looked at any more: three polls were due.
KEPT_S = 15.0
#: Pairings that one query looks at.
BATCH = 500
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


@dataclass(slots=True)
class Entry:
    """A pairing, when it was certainly as it is here, and when a device asked for it last."""

    known: Known
    checked_at: float
    asked_at: float


class Mark(NamedTuple):
    """The moment before a pairing is read."""

    gap: int
    at: float


class Pending:
    """The pairings that wait, as one process has read and heard of them; safe from any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        #: By digest of its device_code.
        self._known: OrderedDict[str, Entry] = OrderedDict()
        #: Somebody wanted to know something since the last check.
        self._wanted = False
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
            self._known[digest] = Entry(known, mark.at, now)
            self._digests[known.id] = digest
            if len(self._known) > MOST:
                self._forget(next(iter(self._known)))

    def find(self, digest: str) -> Known | None:
        """The pairing if it is known to wait still; None: ask the database."""
        with self._lock:
            self._wanted = True
            now, entry = self._now(), self._known.get(digest)
            if entry is None:
                return None
            entry.asked_at = now
            if now - min(self._alive_at, entry.checked_at) > FRESH_S:
                return None
            return entry.known if entry.known.expires_at > clock.now() else None

    def check(self, read: Callable[[Sequence[UUID]], Mapping[UUID, int]]) -> None:
        """Compare what is known with the versions that `read` finds, if anybody wants to know."""
        for batch in self._to_check():
            at = self._now()
            versions = read(batch)
            with self._lock:
                for id in batch:
                    digest = self._digests.get(id)
                    if digest is None:
                        continue
                    entry = self._known[digest]
                    if versions.get(id) == entry.known.version:
                        entry.checked_at = max(at, entry.checked_at)
                    else:
                        self._forget(digest)

    def _to_check(self) -> list[list[UUID]]:
        with self._lock:
            if not self._wanted:
                return []
            self._wanted, now = False, self._now()
            silent = [each for each, entry in self._known.items() if now - entry.asked_at > KEPT_S]
            for digest in silent:
                self._forget(digest)
            ids = list(self._digests)
        return [ids[first : first + BATCH] for first in range(0, len(ids), BATCH)]

    def changed(self, id: UUID, version: int) -> None:
        """A change was heard, here or from another process."""
        with self._lock:
            self._heard[id] = max(version, self._heard.pop(id, 0))
            if len(self._heard) > MOST:
                self._heard.popitem(last=False)
            digest = self._digests.get(id)
            if digest is not None and self._known[digest].known.version < version:
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
            self._digests.pop(entry.known.id, None)


shared = Pending()


def check() -> None:
    """Have the database confirm what is known; `ratelimit.revision` calls it twice a second."""
    shared.check(_versions)


def _versions(ids: Sequence[UUID]) -> Mapping[UUID, int]:
    from pairing.models import Pairing

    return dict(Pairing.objects.filter(pk__in=ids).values_list("pk", "version"))


def on_changed(sender: Any, *, id: UUID, version: int, **_: Any) -> None:
    """Receives `signals.changed`: what this process itself changes needs no channel."""
    shared.changed(id, version)
