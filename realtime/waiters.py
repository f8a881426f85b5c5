"""Who waits, and whose pairing has to be looked at: without loop, thread, clock or database.

A device is registered before its pairing is read, so a change is either in what is read or is heard
afterwards. What is heard of a pairing while it is being read is remembered until the reading is
settled, whether or not it was known by then whose it is.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from uuid import UUID

from pairing.standing import Standing
from realtime.wait import Wait

#: More changes than are published while one batch is read.
STRAYS = 10_000


class Waiters:
    """The waiting devices of a process.

    `news` are those of whose pairing a change was heard, `newcomers` those that have not been
    looked at yet; both are digests of device_codes. What is taken is in neither until `settle` or
    `give_back`, and a digest is never taken twice at once.
    """

    def __init__(self) -> None:
        self._waits: dict[str, list[Wait]] = {}
        self._digests: dict[UUID, str] = {}
        self._ids: dict[str, UUID] = {}
        #: The version heard of, by digest.
        self._news: dict[str, int] = {}
        self._newcomers: dict[str, None] = {}
        self._reading: set[str] = set()
        #: Versions heard of pairings that nobody waited for, as far as was known.
        self._strays: dict[UUID, int] = {}
        #: When each was looked at last, the longest ago first.
        self._read_at: OrderedDict[str, float] = OrderedDict()
        self.count = 0

    def __iter__(self) -> Iterator[Wait]:
        for waits in self._waits.values():
            yield from waits

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    @property
    def backlog(self) -> int:
        """How many have to be looked at."""
        return len(self._news) + len(self._newcomers)

    def join(self, wait: Wait) -> None:
        """Register a device; its pairing is read from now on at the next occasion."""
        self._waits.setdefault(wait.digest, []).append(wait)
        self._newcomers[wait.digest] = None
        self.count += 1

    def leave(self, wait: Wait) -> None:
        """Forget a device. Twice is once."""
        waits = self._waits.get(wait.digest, [])
        if wait not in waits:
            return
        waits.remove(wait)
        self.count -= 1
        if not waits:
            del self._waits[wait.digest]
            self._newcomers.pop(wait.digest, None)
            self._news.pop(wait.digest, None)
            self._read_at.pop(wait.digest, None)
            pairing = self._ids.pop(wait.digest, None)
            if pairing is not None:
                del self._digests[pairing]

    def hear(self, pairing: UUID, version: int) -> None:
        """A change was published."""
        digest = self._digests.get(pairing)
        if digest is not None:
            if any(wait.version < version for wait in self._waits[digest]):
                self._news[digest] = max(version, self._news.get(digest, 0))
        elif self._reading:
            # Who is read later will be read with this change: it was committed before it was heard.
            self._strays[pairing] = max(version, self._strays.get(pairing, 0))
            if len(self._strays) > STRAYS:
                del self._strays[next(iter(self._strays))]

    def take_news(self, most: int) -> list[str]:
        """Up to `most` digests of pairings that have changed, to be read now."""
        return self._take(self._news, most)

    def take_newcomers(self, most: int) -> list[str]:
        """Up to `most` digests of devices that wait for their first answer, to be read now."""
        return self._take(self._newcomers, most)

    def look_again(self, read_before: float) -> None:
        """Look at those again that were read before this moment."""
        for digest, at in self._read_at.items():
            if at >= read_before:
                return
            self._newcomers[digest] = None

    def look_at_all(self) -> None:
        """Changes may have been published unheard: look at everybody again."""
        self._newcomers.update(dict.fromkeys(self._waits))

    def look_at(self, digest: str) -> None:
        """Look at this one again, if it still waits."""
        if digest in self._waits:
            self._newcomers[digest] = None

    def settle(
        self, digests: Iterable[str], standings: Mapping[str, Standing], now: float
    ) -> list[tuple[Wait, Standing | None]]:
        """What was read of `digests`: who has to be told where they stand (None: nowhere)."""
        found: list[tuple[Wait, Standing | None]] = []
        for digest in digests:
            self._reading.discard(digest)
            standing = standings.get(digest)
            waits = self._waits.get(digest, ())
            if standing is not None and waits:
                self._learn(digest, standing, now)
            found += [(wait, standing) for wait in waits]
        self._forget_strays()
        return found

    def give_back(self, digests: Iterable[str]) -> None:
        """They could not be read: they are to be taken again."""
        for digest in digests:
            self._reading.discard(digest)
            self.look_at(digest)
        self._forget_strays()

    def _learn(self, digest: str, standing: Standing, now: float) -> None:
        if digest not in self._ids:
            self._ids[digest], self._digests[standing.id] = standing.id, digest
        heard = max(self._news.pop(digest, 0), self._strays.get(standing.id, 0))
        if heard > standing.version:
            self._news[digest] = heard
        self._read_at[digest] = now
        self._read_at.move_to_end(digest)

    def _take(self, source: dict[str, int] | dict[str, None], most: int) -> list[str]:
        ready = (digest for digest in source if digest not in self._reading)
        taken = list(islice(ready, most))
        for digest in taken:
            # Whatever it was to be read for, it is read now.
            self._newcomers.pop(digest, None)
            self._news.pop(digest, None)
        self._reading.update(taken)
        return taken

    def _forget_strays(self) -> None:
        if not self._reading:
            self._strays.clear()
