"""A process with more arrivals than it can serve, simulated: threads, slots, impatient clients."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from stabilizer.gate.slots import Slots
from stabilizer.gate.ticket import Budget, State, Ticket
from tests.hand_clock import HandClock

THREADS = 4
SERVICE_S = 0.0133
WAIT_S = 1.5


@dataclass
class Seen:
    """What became of the requests of one sort."""

    came: int = 0
    refused: int = 0
    late: int = 0
    #: Served after their client had given up.
    wasted: int = 0
    waits_s: list[float] = field(default_factory=list)

    @property
    def served(self) -> int:
        return len(self.waits_s)

    def wait_s(self, part: float) -> float:
        return sorted(self.waits_s)[int(part * self.served)]


@dataclass(frozen=True)
class Sort:
    """Requests of one kind: how many come a second, and for how long their clients wait at most."""

    name: str
    rate: float
    budget: Budget = "pairing"
    #: A tenant and a device for each; by default all are of one tenant, each a device of its own.
    names: Callable[[int], tuple[str, str]] = lambda number: ("t", str(number))
    patience_s: tuple[float, float] = (3600, 3600)


class Rush:
    """Let `sorts` arrive for `duration_s`; `seen` tells what became of each."""

    def __init__(self, *sorts: Sort, duration_s: float = 30) -> None:
        self.clock = HandClock(0)
        self.slots = Slots(2 * THREADS, 1500, self.clock)
        self.seen = {sort.name: Seen() for sort in sorts}
        self._chance = random.Random(1)
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ready: list[Callable[[], None]] = []
        self._running = 0
        for sort in sorts:
            due_s = self._chance.expovariate(sort.rate)
            for number in count():
                if due_s >= duration_s:
                    break
                self._at(due_s, partial(self._arrive, sort, number))
                due_s += self._chance.expovariate(sort.rate)
        while self._events:
            self.clock.now, _, happen = heapq.heappop(self._events)
            happen()

    def _at(self, moment: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), happen))

    def _arrive(self, sort: Sort, number: int) -> None:
        seen, now = self.seen[sort.name], self.clock.now
        gone_at = now + self._chance.uniform(*sort.patience_s)
        one = Ticket("normal", 1, now + WAIT_S, now, sort.budget, sort.names(number))
        seen.came += 1

        def begin() -> None:
            seen.waits_s.append(self.clock.now - now)
            self._run(lambda: self._end(seen, one, gone_at))

        if self.slots.take(one):
            begin()
            return
        one.wake = lambda: begin() if one.state is State.GRANTED else None
        if self.slots.is_hopeless(one) or not self.slots.join(one):
            seen.refused += 1
            return
        self._at(one.deadline, lambda: self._late(seen, one))

    def _run(self, end: Callable[[], None]) -> None:
        if self._running == THREADS:
            self._ready.append(lambda: self._run(end))
            return
        self._running += 1
        self._at(self.clock.now + self._chance.uniform(0.7, 1.3) * SERVICE_S, end)

    def _end(self, seen: Seen, one: Ticket, gone_at: float) -> None:
        self._running -= 1
        seen.wasted += self.clock.now > gone_at
        self.slots.leave(one)
        if self._ready:
            self._ready.pop(0)()

    def _late(self, seen: Seen, one: Ticket) -> None:
        if one.state is State.WAITING:
            seen.late += 1
            self.slots.drop(one)
