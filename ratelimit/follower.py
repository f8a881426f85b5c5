"""How this process hears which rows others have forgotten, and tells which it has.

Whoever reads rows looks first, if nobody has for half a second. What was not looked after for a
second is not believed, whatever its time: with Redis away, rows are kept for a second only. What it
forgets a process tells all together, a moment later and from a thread: no request waits for it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from ratelimit.rows import Rows, Seen
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
#: The longest that a row is used after it was forgotten, while all are well.
FRESH_S = 1.0
#: Between two notes of which keys are in use, and how many are noted.
NOTE_EVERY_S, NOTED = 10.0, 200
#: How long rows are gathered before Redis is told to forget them.
GATHER_S = 0.05
#: Rows that Redis has still to be told of; when there are more, it forgets everything.
MOST_OWED = 10_000


class Kept(Protocol):
    """What a follower needs of a cache."""

    @property
    def name(self) -> str: ...
    def drop(self, key: str) -> None: ...
    def clear(self) -> None: ...
    def latest(self, count: int) -> list[str]: ...
    def reset(self) -> None: ...


class Debt:
    """Rows that were forgotten here and not yet in Redis; of too many, everything."""

    def __init__(self) -> None:
        self.rows: set[str] = set()
        self.everything = False

    def covers(self, row: str) -> bool:
        return self.everything or row in self.rows

    def add(self, rows: Iterable[str], everything: bool = False) -> None:
        self.rows.update(rows)
        if everything or len(self.rows) > MOST_OWED:
            self.everything = True
            self.rows.clear()

    def pay(self, to: Rows) -> None:
        """Have Redis forget them; raises `StoreAway`."""
        if self.everything:
            to.forget_all()
        to.forget(sorted(self.rows))


class Follower:
    """One process's ear for changes of rows, its caches by name, and what it has still to tell."""

    def __init__(
        self, store: Callable[[], Store], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.caches: dict[str, Kept] = {}
        self.clock = clock
        self._make_store = store
        self._begin()

    def _begin(self) -> None:
        self._rows: Rows | None = None
        self._making = threading.Lock()
        self._looking = threading.Lock()
        self._owing = threading.Lock()
        self._paying = threading.Lock()
        self._looked_at = self._heard_at = self._noted_at = float("-inf")
        self._seen = Seen("", 0)
        #: What Redis has still to be told, and what it is being told.
        self._owed, self._told = Debt(), Debt()
        self._payer: threading.Timer | None = None

    @property
    def rows(self) -> Rows:
        if self._rows is None:
            with self._making:
                self._rows = self._rows or Rows(self._make_store())
        return self._rows

    def owes(self, row: str) -> bool:
        """Whether Redis may hold this row although it was forgotten here."""
        return self._owed.covers(row) or self._told.covers(row)

    def vouches(self, read_at: float) -> bool:
        """Whether what was read then would have been dropped, had it changed over a second ago."""
        return max(read_at, self._heard_at) > self.clock() - FRESH_S

    def follow(self) -> None:
        """Hear of changes if it is time. One thread does, and the others go on."""
        now = self.clock()
        if now < self._looked_at + LOOK_EVERY_S or not self._looking.acquire(blocking=False):
            return
        try:
            self._looked_at = now
            self._look(now)
        except StoreAway:
            logger.debug("nobody tells which rows were forgotten: Redis is away")
        finally:
            self._looking.release()

    def forget(self, rows: Iterable[str]) -> None:
        """Drop rows (`kind:key`) here, and within a second everywhere. Call it after the commit."""
        gone = set(rows)
        with self._owing:
            self._owed.add(gone)
            if self._payer is None:
                # No daemon: a command that ends waits for what it has to tell.
                self._payer = threading.Timer(GATHER_S, self._pay_now)
                self._payer.start()
        for row in gone:
            self._drop(row)

    def pay(self) -> None:
        """Tell Redis what it has not been told yet; raises `StoreAway`, and owes it still."""
        with self._paying:
            with self._owing:
                self._told, self._owed = self._owed, Debt()
            try:
                self._told.pay(self.rows)
            except StoreAway:
                with self._owing:
                    self._owed.add(self._told.rows, self._told.everything)
                raise
            finally:
                self._told = Debt()

    def reset(self) -> None:
        """Begin anew with nothing known, perhaps of another Redis."""
        if self._payer is not None:
            self._payer.cancel()
        if self._rows is not None:
            self._rows.store.close()
        self.begin_anew()

    def begin_anew(self) -> None:
        """`reset` that leaves connections open: those of a parent process."""
        self._begin()
        for cache in self.caches.values():
            cache.reset()

    def _look(self, now: float) -> None:
        self.pay()
        changes = self.rows.changes(self._seen)
        if changes.rows is None:
            for cache in self.caches.values():
                cache.clear()
        for row in changes.rows or ():
            self._drop(row)
        self._seen, self._heard_at = changes.seen, now
        if now >= self._noted_at + NOTE_EVERY_S and self._note():
            self._noted_at = now

    def _drop(self, row: str) -> None:
        kind, _, key = row.partition(":")
        cache = self.caches.get(kind)
        if cache is not None:
            cache.drop(key)

    def _note(self) -> bool:
        """Tell which keys are in use; False when there are none yet."""
        used = {cache.name: cache.latest(NOTED) for cache in self.caches.values()}
        for name, keys in used.items():
            if keys:
                self.rows.note_used(name, keys)
        return any(used.values())

    def _pay_now(self) -> None:
        with self._owing:
            self._payer = None
        try:
            self.pay()
        except StoreAway:
            logger.info("rows are forgotten here alone until Redis is back")
