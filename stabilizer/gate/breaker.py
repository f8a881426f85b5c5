"""The circuit breaker of a dependency: one that fails, crawls or hangs is left alone for a while.

`Breaker` is a state machine with an injected clock; `Shared` lets the fleet's processes agree on
it. The database has two, by what a call does: a full disk, a read-only server or a lock ends
writes while reads go on. Criticality would be no better class: it says who is served first, and a
frozen database serves nobody.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeVar

from ratelimit.breakers import CLOSE, LOOK, OPEN, Board, Record, Word
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)
T = TypeVar("T")

READS = "database:read"
WRITES = "database:write"

#: A dependency that hangs ends no call for so long.
FROZEN_S = 0.5
#: One call alone may be a long one.
FROZEN_CALLS = 2
#: Also for a probe: one that takes longer has failed.
SLOW_S = 1.0
#: Calls are counted in so many buckets of a second.
WINDOW_S = 10
LEAST_CALLS = 20
BAD_RATIO = 0.5
#: A dependency that is back is found out within this time: full service in 5 s, as promised.
LONGEST_S = 4.0
#: Of a wait, so much is taken off by chance.
JITTER = 0.25
LOOK_EVERY_S = 0.1
#: A look that comes later was held up by this process, and says nothing of the dependency.
LATE_S = 0.3
#: How often Redis is asked what the others found; of a change it is told at the next look.
HEAR_EVERY_S = 0.5
NEVER = float("inf")


class State(StrEnum):
    """`CLOSED`: calls go through. `OPEN`: none does. `HALF_OPEN`: one does, the probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Call(NamedTuple):
    """A call under way: when it began, and in which `generation` of its breaker."""

    generation: int
    at: float


class Window:
    """How the calls of the last `WINDOW_S` ended."""

    def __init__(self) -> None:
        #: Each a second, and how many calls ended in it, failed, and were slow.
        self._buckets: deque[list[int]] = deque()
        self._totals = [0, 0, 0]

    def count(self, now: float, *, failed: bool, slow: bool) -> None:
        second = int(now)
        if not self._buckets or self._buckets[-1][0] != second:
            self._roll(second)
        bucket, totals = self._buckets[-1], self._totals
        bucket[1] += 1
        bucket[2] += failed
        bucket[3] += slow
        totals[0] += 1
        totals[1] += failed
        totals[2] += slow

    @property
    def is_bad(self) -> bool:
        calls, failed, slow = self._totals
        return calls >= LEAST_CALLS and max(failed, slow) >= calls * BAD_RATIO

    def _roll(self, second: int) -> None:
        self._buckets.append([second, 0, 0, 0])
        while self._buckets[0][0] <= second - WINDOW_S:
            _, *gone = self._buckets.popleft()
            self._totals = [total - old for total, old in zip(self._totals, gone, strict=True)]


class Breaker:
    """Whether a dependency may be called; safe from any thread.

    It opens when half of the last ten seconds' calls failed or were slow, or when nothing ends any
    more: the first call that began after the last end has run for `FROZEN_S`, and not alone. It
    stays open for 2^n seconds, n being the openings in a row before; one that follows a closing
    within `WINDOW_S` is of the same row. Then the first call to begin is the probe.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.state = State.CLOSED
        #: The n of 2^n.
        self.failures = 0
        #: Rises with each change. The end of a call of an older one says nothing of now.
        self.generation = 0
        #: Asked, with `failures`, before a probe: the seconds to leave that to another; 0: none.
        self.claim: Callable[[int], float] = lambda failures: 0
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._closed_at = -NEVER
        #: When it came into its state.
        self.since = clock()
        #: When the state changes by itself: `OPEN` half-opens, or the probe has failed.
        self._due = NEVER
        self._probing = False
        self._running = 0
        #: When the first call began that came after the last end.
        self._canary_at = NEVER
        self._window = Window()
        self._looked_at = -NEVER

    def admits(self) -> bool:
        """Whether a call may be tried. It costs nothing and promises nothing: `began` decides."""
        if self.state is State.CLOSED:
            return True
        with self._lock:
            self._tick(self._clock())
            return not self._refuses

    @property
    def retry_after_s(self) -> float:
        """Until a call may be tried again, or the probe has ended; 0 if one may now."""
        if self.state is State.CLOSED:
            return 0
        return max(0, self._due - self._clock())

    def began(self) -> Call | None:
        """Tell that a call begins; None: it must not. Whatever happens to it, tell of its end."""
        with self._lock:
            now = self._clock()
            self._tick(now)
            call = Call(self.generation, now)
            if self.state is State.CLOSED:
                self._running += 1
                self._canary_at = min(self._canary_at, now)
                return call
            if self._refuses:
                return None
            self._probing, self._due = True, now + SLOW_S
        return call if self._is_ours(call) else None

    def ended(self, call: Call, ok: bool) -> None:
        """Tell that `call` is over; `ok` unless the dependency itself failed."""
        with self._lock:
            if call.generation != self.generation:
                return
            now = self._clock()
            slow = now - call.at >= SLOW_S
            if self._probing:
                if ok and not slow:
                    self._close(now)
                else:
                    self._open(now)
                return
            self._running -= 1
            self._canary_at = NEVER
            self._window.count(now, failed=not ok, slow=slow)
            if self._window.is_bad:
                self._open(now)

    def look(self, waiting: int = 0) -> None:
        """Find out whether the dependency hangs; call it each `LOOK_EVERY_S`.

        While other calls are `waiting` for a thread, one that runs alone is judged as well.
        """
        with self._lock:
            now = self._clock()
            self._tick(now)
            if now - self._looked_at > LATE_S and self._canary_at < now:
                self._canary_at = now
            self._looked_at = now
            enough = self._running >= FROZEN_CALLS or (self._running and waiting)
            if enough and now - self._canary_at >= FROZEN_S:
                self._open(now)

    def opened_elsewhere(self, failures: int, wait_s: float) -> None:
        """Another process found it out; a probe is due in `wait_s`."""
        with self._lock:
            # Our own probe decides; and what is due here and there needs no change.
            if self._probing or (self.state is State.HALF_OPEN and wait_s <= 0):
                return
            self.failures = failures
            self._enter(State.OPEN, self._clock() + wait_s)

    def closed_elsewhere(self) -> None:
        """Another process's probe succeeded."""
        with self._lock:
            if self.state is not State.CLOSED and not self._probing:
                self._close(self._clock())

    @property
    def _refuses(self) -> bool:
        return self.state is State.OPEN or self._probing

    def _is_ours(self, probe: Call) -> bool:
        # Without the lock: Redis may take a while, and the event loop asks `admits` meanwhile.
        wait_s = self.claim(self.failures)
        if wait_s <= 0:
            return True
        with self._lock:
            if probe.generation == self.generation:
                self._enter(State.OPEN, self._clock() + wait_s)
        return False

    def _tick(self, now: float) -> None:
        if now < self._due:
            return
        if self.state is State.OPEN:
            self._enter(State.HALF_OPEN, self._due)
        elif self._probing:
            self._open(now)

    def _open(self, now: float) -> None:
        is_first = self.state is State.CLOSED and now - self._closed_at >= WINDOW_S
        self.failures = 0 if is_first else self.failures + 1
        # 2^5 is beyond the longest already.
        wait_s = min(LONGEST_S, 2.0 ** min(self.failures, 5))
        self._enter(State.OPEN, now + wait_s * (1 - JITTER * self._chance()))

    def _close(self, now: float) -> None:
        self._closed_at = now
        self._enter(State.CLOSED, NEVER)

    def _enter(self, state: State, due: float) -> None:
        if state is not self.state:
            level = logging.INFO if state is State.HALF_OPEN else logging.WARNING
            logger.log(level, "breaker %s: %s > %s", self.name, self.state, state)
            self.since = self._clock()
        self.state, self._due, self._probing = state, due, False
        self.generation += 1
        self._running, self._canary_at, self._window = 0, NEVER, Window()


def watched(
    breaker: Breaker | None, act: Callable[[], T], is_well: Callable[[T], bool] = lambda _: True
) -> T | None:
    """What `act` returns, of which `breaker` is told; None if it must not be called.

    What it raises is the dependency's failure; of what it returns `is_well` decides.
    """
    if breaker is None:
        return act()
    call = breaker.began()
    if call is None:
        return None
    well = False
    try:
        outcome = act()
        well = is_well(outcome)
    finally:
        breaker.ended(call, well)
    return outcome


class Shared:
    """The breakers of this process, in agreement with those of the same names in all others.

    What one process finds the others hear within `LOOK_EVERY_S` and `HEAR_EVERY_S`, and only one of
    them probes. While Redis is away each decides alone; a Redis that has forgotten closes them.
    """

    def __init__(
        self,
        store: Store,
        breakers: Sequence[Breaker],
        waiting: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = Board(store, [breaker.name for breaker in breakers])
        self._breakers = breakers
        self._waiting = waiting
        self._clock = clock
        #: Of each breaker the failures that are on record, as far as we know; None: it is closed.
        self._known: list[int | None] = [None] * len(breakers)
        self._heard_at = -NEVER
        for breaker in breakers:
            breaker.claim = partial(self._claim, breaker.name)

    async def hold(self) -> None:
        """Look for as long as this task runs."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def hold_now(self, stopped: threading.Event) -> None:
        """`hold` for threads, until `stopped` is set."""
        while not stopped.wait(LOOK_EVERY_S):
            self.look_now()

    async def look(self) -> None:
        """Look at each breaker, tell Redis what has changed, and hear what others found."""
        before = self._look()
        if words := self._words():
            try:
                records = await self._board.exchange(words)
            except StoreAway:
                return
            self._heed(records, before)

    def look_now(self) -> None:
        """`look` for threads."""
        before = self._look()
        if words := self._words():
            try:
                records = self._board.exchange_now(words)
            except StoreAway:
                return
            self._heed(records, before)

    def _look(self) -> list[int]:
        for breaker in self._breakers:
            breaker.look(self._waiting())
        return [breaker.generation for breaker in self._breakers]

    def _words(self) -> list[Word]:
        """One of each breaker; none at all if Redis may rest."""
        pairs = zip(self._breakers, self._known, strict=True)
        words = [_word(breaker, known) for breaker, known in pairs]
        now = self._clock()
        if now - self._heard_at < HEAR_EVERY_S and all(word.act == LOOK for word in words):
            return []
        self._heard_at = now
        return words

    def _heed(self, records: Sequence[Record | None], before: Sequence[int]) -> None:
        self._known = [record and record.failures for record in records]
        for breaker, record, generation in zip(self._breakers, records, before, strict=True):
            if breaker.generation != generation:
                continue  # what it has learnt meanwhile is newer
            if record is not None:
                breaker.opened_elsewhere(*record)
            else:
                breaker.closed_elsewhere()

    def _claim(self, name: str, failures: int) -> float:
        try:
            return self._board.claim(name, failures)
        except StoreAway:
            return 0


def _word(breaker: Breaker, known: int | None) -> Word:
    if breaker.state is State.CLOSED:
        return Word(LOOK) if known is None else Word(CLOSE, known)
    if breaker.failures == known:
        return Word(LOOK)
    return Word(OPEN, breaker.failures, breaker.retry_after_s)
