"""Simulated servers behind an adaptive limit: events in order, and nobody sleeps.

A request that got a slot waits for one of `threads`, and then shares what is behind them (a
database, the processors) with the others that run: up to `knee` at once run undisturbed.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from stabilizer.gate.adaptive import AdaptiveLimit

#: Requests that may wait for a slot; the others are refused.
QUEUE = 50


@dataclass
class Fixed:
    """A limit that learns nothing, to compare with."""

    limit: int

    def ended(self, kind: str, latency_s: float, in_flight: int, ok: bool = True) -> None:
        pass


@dataclass
class Route:
    """One kind of request: work in seconds when it runs alone, and its part of all."""

    name: str
    work_s: Callable[[Random], float]
    part: float = 1.0


def exponential(mean_s: float) -> Callable[[Random], float]:
    return lambda random: random.expovariate(1 / mean_s)


def ordinary(mean_s: float) -> Callable[[Random], float]:
    """Half as wide as `exponential`: most queries are much alike."""
    return lambda random: random.gammavariate(4, mean_s / 4)


@dataclass
class World:
    """Tests change between runs: `routes`, `knee`, `slowness`, `rate_per_s`, `failing`."""

    limit: AdaptiveLimit | Fixed
    routes: list[Route]
    threads: int = 8
    knee: float = 8
    #: What each further one beyond the knee costs all: 0.05 is a twentieth of their pace.
    contention: float = 0.0
    slowness: float = 1.0
    #: None: there is always somebody waiting.
    rate_per_s: float | None = None
    failing: float = 0.0
    seed: int = 1
    now: float = 0.0
    done: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._progress = 0.0
        self._running: list[tuple[float, int, float, str, bool]] = []
        self._ready: deque[tuple[float, float, str, bool]] = deque()
        self._waiting = 0
        self._count = 0
        self._next_arrival = 0.0
        self._parts: list[float] = []

    @property
    def in_flight(self) -> int:
        return len(self._running) + len(self._ready)

    def clock(self) -> float:
        return self.now

    @classmethod
    def adaptive(cls, maximum: int, **world: Any) -> "World":
        made = cls(Fixed(1), **world)
        made.limit = AdaptiveLimit(maximum, made.clock)
        return made

    @property
    def latency_s(self) -> float:
        """The mean of those that were served in the last run."""
        return sum(self.latencies_s) / len(self.latencies_s)

    def run(self, seconds: float) -> "World":
        """Only what happens in this time is left in `done` and `latencies_s`."""
        self.done, self.latencies_s = 0, []
        self._parts = [route.part for route in self.routes]
        until = self.now + seconds
        if self.rate_per_s is not None:
            self._next_arrival = self.now + self._gap_s()
        self._admit()
        while self._step(until):
            pass
        return self

    def _step(self, until: float) -> bool:
        running = self._running
        pace = self._pace()
        ends = self.now + (running[0][0] - self._progress) / pace if running else until
        arrives = self._next_arrival if self.rate_per_s is not None else until
        moment = min(ends, arrives, until)
        self._progress += (moment - self.now) * pace
        self.now = moment
        if moment >= until:
            return False
        if ends <= arrives:
            self._end()
        else:
            self._waiting = min(QUEUE, self._waiting + 1)
            self._next_arrival = self.now + self._gap_s()
        self._admit()
        return True

    def _gap_s(self) -> float:
        return self.random.expovariate(self.rate_per_s) if self.rate_per_s else 1e9

    def _pace(self) -> float:
        running = len(self._running)
        beyond = max(0.0, running - self.knee)
        shared = min(1.0, self.knee / running) if running else 1.0
        return shared / (1 + self.contention * beyond) / self.slowness

    def _end(self) -> None:
        _, _, began, name, ok = heapq.heappop(self._running)
        latency_s = self.now - began
        if ok:
            self.done += 1
            self.latencies_s.append(latency_s)
        self.limit.ended(name, latency_s, self.in_flight + 1, ok)
        if self._ready:
            self._start(*self._ready.popleft())

    def _admit(self) -> None:
        while self.in_flight < self.limit.limit and (self.rate_per_s is None or self._waiting):
            self._waiting = max(0, self._waiting - 1)
            self._begin()

    def _begin(self) -> None:
        random = self.random
        route = self.routes[0]
        if len(self.routes) > 1:
            (route,) = random.choices(self.routes, self._parts)
        ok = not self.failing or random.random() >= self.failing
        work = route.work_s(random) if ok else 0.0001
        if len(self._running) < self.threads:
            self._start(self.now, work, route.name, ok)
        else:
            self._ready.append((self.now, work, route.name, ok))

    def _start(self, began: float, work: float, name: str, ok: bool) -> None:
        self._count += 1
        heapq.heappush(self._running, (self._progress + work, self._count, began, name, ok))
