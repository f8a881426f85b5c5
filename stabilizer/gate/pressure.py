"""How hard pressed this process is, from 0 (calm) to 3, and what it refuses because of it.

`Ladder` is a state machine with an injected clock: signals in, a level out. `Pressure` lets it look
ten times a second, says which requests are refused, and tells the fleet. Each process decides by
its own level: it depends on nobody for that, and one process in trouble costs the others nothing.
What all have in common, the database, they hear of by its breakers.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ratelimit import flags, pressures
from ratelimit.store import Store, StoreAway
from stabilizer.gate.policy import ALL_BUT_CRITICAL, NOTHING, ONLY_SHEDDABLE
from stabilizer.gate.ticket import Level, Ticket

logger = logging.getLogger(__name__)

HIGHEST = 3
LOOK_EVERY_S = 0.1
#: Signals have to last for so long before the level rises: a moment's crowd is the queue's affair.
RISE_S = 0.3
#: And to stay away for so long before it falls by one; longer, if it had to rise again soon.
CALM_S = 1.0
LONGEST_CALM_S = 30.0
#: A rise this soon after a fall says that the fall came too early.
AGAIN_S = 60.0
#: A level is held until what raised it is so much better: half.
EASE = 0.5
#: Of the longest wait for a slot: a queue that stands, and one as long as it may go on to be
#: (`slots.SHORT_S`), so that others are refused.
STANDING, LONG = 1 / 30, 1 / 10
NEVER = float("inf")
#: Whose waits count. What is sheddable waits behind all others, and operators have slots of theirs.
COUNTED: frozenset[Level] = frozenset({"critical", "normal"})


@dataclass(frozen=True, slots=True)
class Signals:
    """What a process sees of its own distress in one look."""

    #: The smallest waits for a slot of late, in s, by whose they were; 0 where nobody has to wait.
    waits: Mapping[str, float] = field(default_factory=dict)
    #: Some wait although there were slots: the adaptive limit has taken half of them away.
    shrunk: bool = False
    #: Breakers that are not closed: of the database's reads, of its writes.
    open_breakers: int = 0
    #: Newcomers are shed: what is less than ordinary goes first, even if nothing ordinary waits.
    sheds: bool = False

    def __str__(self) -> str:
        waits = ", ".join(f"{place} {wait_s:.3f} s" for place, wait_s in self.waits.items())
        shrunk = ", half of the slots away" if self.shrunk else ""
        sheds = ", newcomers shed" if self.sheds else ""
        return f"waits: {waits or 'none'}{shrunk}{sheds}; open breakers: {self.open_breakers}"

    def level(self, longest_wait_s: float, ease: float = 1.0) -> int:
        """The level that they ask for; with `ease` below 1, the one that they still hold up.

        Those who are `critical` go before all others: where even they wait long, the others are
        not served any more, only kept.
        """
        standing, long = (longest_wait_s * part * ease for part in (STANDING, LONG))
        wait_s = max(self.waits.values(), default=0.0)
        if self.waits.get("critical", 0.0) >= long:
            return 3
        if wait_s >= long or self.open_breakers > 1 or self.sheds:
            return 2
        return int(wait_s >= standing or self.shrunk or self.open_breakers > 0)


class Ladder:
    """The level: up at once to what has lasted for `RISE_S`, down by one after a time of calm.

    That time doubles whenever the level has to rise within `AGAIN_S` of a fall. A load that comes
    and goes so has the level stay up after a few teeth, and not go up and down with each.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.level = 0
        #: For how long signals have to stay away now.
        self.calm_s = CALM_S
        self._clock = clock
        #: Since when the signals have asked for each level, or for more.
        self._asked_since = [NEVER] * (HIGHEST + 1)
        self._calm_since = NEVER
        self._fell_at = -NEVER
        #: It has fallen since it last rose.
        self._fell = False

    def look(self, asked: int, held: int) -> int:
        """The level after a look in which signals ask for `asked` and hold up `held` or less."""
        now = self._clock()
        for level in range(1, HIGHEST + 1):
            if level > asked:
                self._asked_since[level] = NEVER
            elif self._asked_since[level] == NEVER:
                self._asked_since[level] = now
        lasted = [level for level, since in enumerate(self._asked_since) if now - since >= RISE_S]
        if lasted and lasted[-1] > self.level:
            self._rise(lasted[-1], now)
        elif held >= self.level:
            self._calm_since = NEVER
        elif self._calm_since == NEVER:
            self._calm_since = now
        elif now - self._calm_since >= self.calm_s:
            self._fall(now)
        return self.level

    def _rise(self, level: int, now: float) -> None:
        if self._fell:
            again = now - self._fell_at < AGAIN_S
            self.calm_s = min(LONGEST_CALM_S, self.calm_s * 2) if again else CALM_S
        self.level, self._calm_since, self._fell = level, NEVER, False

    def _fall(self, now: float) -> None:
        self.level -= 1
        self._calm_since, self._fell_at, self._fell = now, now, True


class Delays:
    """The smallest wait for a slot since the last look, by whose it was.

    Threads that count at the same time may lose one of two minima: the next look finds another.
    """

    def __init__(self) -> None:
        self._smallest: dict[str, float] = {}
        self._last: Mapping[str, float] = {}

    def count(self, ticket: Ticket) -> None:
        """A request's wait is over, with a slot or without."""
        if ticket.level in COUNTED and ticket.waited_s <= self._smallest.get(ticket.kind, NEVER):
            self._smallest[ticket.kind] = ticket.waited_s

    def take(self, waiting: int) -> Mapping[str, float]:
        """The smallest waits; those of before while some are `waiting` and none has ended."""
        found, self._smallest = self._smallest, {}
        if found or not waiting:
            self._last = found
        return self._last


class Pressure:
    """This process's level, and who is refused because of it."""

    def __init__(
        self,
        store: Store,
        process: str,
        signals: Callable[[], Signals],
        longest_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.level = 0
        #: Requests whose policy's rank is below this one are refused.
        self.refuses_below = NOTHING
        self._store = store
        self._process = process
        self._signals = signals
        self._longest_wait_s = longest_wait_s
        self._ladder = Ladder(clock)
        self._clock = clock
        self._told = -1
        self._told_at = -NEVER

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
        """Find the level, and tell the fleet if it is news."""
        if self._look():
            try:
                await pressures.tell(self._store, self._process, self.level)
            except StoreAway:
                return

    def look_now(self) -> None:
        """`look` for threads."""
        if self._look():
            try:
                pressures.tell_now(self._store, self._process, self.level)
            except StoreAway:
                return

    def _look(self) -> bool:
        """True if the fleet is to be told."""
        signals, before = self._signals(), self.level
        asked = signals.level(self._longest_wait_s)
        held = signals.level(self._longest_wait_s, EASE)
        self.level = self._ladder.look(asked, held)
        if self.level != before:
            logger.warning("pressure: %d > %d (%s)", before, self.level, signals)
        self.refuses_below = _refused(self.level)
        now = self._clock()
        if self.level == self._told and now - self._told_at < pressures.TELL_EVERY_S:
            return False
        self._told, self._told_at = self.level, now
        return True


def _refused(level: int) -> int:
    if flags.taken(flags.ONLY_CRITICAL, level):
        return ALL_BUT_CRITICAL
    return ONLY_SHEDDABLE if flags.taken(flags.SHEDDABLE_REFUSED, level) else NOTHING
