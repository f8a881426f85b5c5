"""How many requests this process should run at once: learned from how long they take.

Gradient2 of Netflix's concurrency-limits (`Gradient2Limit`, `WindowedLimit`) compares the latency
of late with a long average of it, and grows for ever where requests have been slow for long (its
issue 165): the average learns the queue that the limit itself has made. Here the long average is
the floor: latency while at most half of the limit is used. Where such moments do not come by
themselves, the limit is halved for a window, as Envoy's adaptive concurrency and BBR's PROBE_RTT
do. If half brings the same throughput (in flight by latency: Little's law), half it stays: the
guard of Uber's Cinnamon and of failsafe-go, as an experiment instead of a correlation.
"""

from collections.abc import Callable, Hashable
from math import sqrt
from typing import Protocol

#: The limit moves once a window at most: long enough that one request is no news.
WINDOW_S = 0.25
SAMPLES = 20
#: Halving the limit is judged by so many times more.
PROBE = 2
#: After such a leap, so many times those in flight end before latencies have settled.
SETTLING = 2
#: Older windows tell of another time: so few requests are no load.
STALE_S = 30.0
#: A latency so many times the floor is not yet a queue.
TOLERANCE = 1.25
STEEPEST = 0.5
SMOOTHING = 0.2
#: What the newest window without load counts in the floor.
NEWEST = 0.1
#: A latency that differs by more from the floor tells of another world, and is no noise.
LEAP = 2.0
#: Half of the limit is enough if it brings so much of the throughput, and nothing is learned of
#: that unless so much of the limit is used.
ENOUGH = 0.92
FULL = 0.8
#: What the newest window counts in the throughput, and the newest probe in the verdict.
RECENT = 0.3
VERDICT = 0.6
#: Windows between two probes: few after a surprise, twice as many after each without one.
SOONEST = 4
RAREST = 256
#: Requests by which the typical latency of a kind is learned, and then followed: slowly, because
#: it is the unit in which the floor is remembered.
YOUNG = 100
MEMORY = 10_000
#: No request counts more than so many times the mean of the others of its window.
OUTLIER = 3
SHORTEST_S = 1e-6


class Typical:
    """The mean latency of one kind of request while there is little load."""

    __slots__ = ("mean_s", "seen")

    def __init__(self) -> None:
        self.mean_s = 0.0
        self.seen = 0

    def learn(self, latency_s: float) -> None:
        self.seen += 1
        weight = 1 / self.seen if self.seen <= YOUNG else 1 / MEMORY
        self.mean_s += weight * (latency_s - self.mean_s)


class Window:
    """Latencies (as multiples of the typical one) and requests in flight, seen in a short time."""

    __slots__ = ("_in_flight", "_slowest", "_sum", "count", "opened_at", "skip")

    def __init__(self, now: float, skip: int = 0) -> None:
        """The first `skip` requests that end began under another limit, and are not counted."""
        self.opened_at = now
        self.skip = skip
        self.count = 0
        self._sum = self._slowest = 0.0
        self._in_flight = 0

    def add(self, latency: float, in_flight: int) -> None:
        if self.skip > 0:
            self.skip -= 1
            return
        self.count += 1
        self._sum += latency
        self._in_flight += in_flight
        if latency > self._slowest:
            self._slowest = latency

    @property
    def latency(self) -> float:
        """The mean, in which the slowest counts at most three times the mean of the others."""
        others = self._sum - self._slowest
        return (others + min(self._slowest, OUTLIER * others / (self.count - 1))) / self.count

    @property
    def in_flight(self) -> float:
        return self._in_flight / self.count

    @property
    def throughput(self) -> float:
        """By Little's law, so that it can be compared where arrivals are few."""
        return self.in_flight / self.latency


class Limit(Protocol):
    """So many requests at once. `AdaptiveLimit` learns it; a hand can set it."""

    limit: int
    maximum: int

    @property
    def settled(self) -> int:
        """The limit, but for what is tried for a moment."""

    def ended(self, kind: Hashable, latency_s: float, in_flight: int, ok: bool = True) -> None:
        """A request is over."""


class AdaptiveLimit:
    """`limit` requests at once, between 1 and `maximum`: where more would only make them slower.

    Feed it every request that ends, and read `limit` afterwards. It settles at 1.3 (of many) to
    1.9 (of few) times what the process and the things behind it do at once. A state machine
    without loop, thread or lock; each call takes constant time and memory (by number of kinds).
    """

    def __init__(self, maximum: int, clock: Callable[[], float]) -> None:
        self._maximum = max(1, maximum)
        self._estimate = float(self._maximum)
        #: Latency with little load, as a multiple of the typical one; 0 is unknown.
        self._floor = 0.0
        self._typical: dict[Hashable, Typical] = {}
        self._clock = clock
        self._window = Window(clock())
        #: In flight by latency, of late and under the whole limit; 0 is unknown.
        self._throughput = 0.0
        #: The half of the limit that is being tried for a window, or 0.
        self.trial = 0
        #: The part of the throughput that half of the limit brought, in the last probes.
        self._left = STEEPEST
        self._since_probe = 0
        self._rest = SOONEST
        self._set_limit()

    @property
    def maximum(self) -> int:
        """What the limit never passes, however fast requests are. May change at any time."""
        return self._maximum

    @maximum.setter
    def maximum(self, maximum: int) -> None:
        self._maximum = max(1, maximum)
        self._set_limit()

    @property
    def settled(self) -> int:
        """The limit, but for what is tried for a moment."""
        return min(int(self._estimate), self._maximum)

    def ended(self, kind: Hashable, latency_s: float, in_flight: int, ok: bool = True) -> None:
        """A request of `kind` took `latency_s` with a slot; `in_flight` slots, its own included.

        Latencies are compared within a kind. What failed counts if it was slow: a quick error is
        no speed, but what an overloaded dependency does to requests often ends in one.
        """
        latency_s = max(latency_s, SHORTEST_S)
        typical = self._typical.get(kind)
        if typical is None:
            typical = self._typical[kind] = Typical()
        if ok and (in_flight <= self._half or typical.seen < YOUNG):
            typical.learn(latency_s)
        elif not ok and latency_s < typical.mean_s * self._floor:
            return
        if in_flight < self.trial * FULL:
            # Nobody waits any more, so that nothing can be learned of less slots.
            self._end_trial(in_flight)
        window = self._window
        window.add(latency_s / (typical.mean_s or latency_s), in_flight)
        if window.count >= SAMPLES:
            self._close(window, in_flight)

    def _close(self, window: Window, in_flight: int) -> None:
        now = self._clock()
        age_s = now - window.opened_at
        longer = PROBE if self.trial else 1
        if age_s < longer * WINDOW_S or window.count < longer * SAMPLES:
            return
        self._window = Window(now)
        if age_s > STALE_S:
            self.trial = 0
        elif self.trial:
            self._compare(window)
            self._window.skip = SETTLING * in_flight
        elif window.in_flight <= self._half and self.limit > 1:
            self._learn_floor(window.latency)
            self._since_probe = 0
        else:
            half = self._half
            self._adjust(window)
            if self._probe_is_due(window):
                self.trial = half
                self._window.skip = SETTLING * in_flight
        self._set_limit()

    def _compare(self, at_half: Window) -> None:
        """Half the limit was tried: is it enough?"""
        left = at_half.throughput / self._throughput
        self._left += VERDICT * (left - self._left)
        self._rest = min(RAREST, 2 * self._rest)
        self._learn_floor(at_half.latency, RECENT)
        if left >= ENOUGH:
            self._rest = SOONEST
        if self._left >= ENOUGH:
            self._estimate = float(self.trial)
            self._floor = min(self._floor, at_half.latency)
        self.trial = self._since_probe = 0

    def _end_trial(self, in_flight: int) -> None:
        self.trial = self._since_probe = 0
        self._window = Window(self._clock(), SETTLING * in_flight)
        self._set_limit()

    def _adjust(self, window: Window) -> None:
        if window.latency < self._floor or not self._floor:
            self._learn_floor(window.latency)
        known = self._throughput or window.throughput
        self._throughput = known + RECENT * (window.throughput - known)
        gradient = max(STEEPEST, min(1.0, TOLERANCE * self._floor / window.latency))
        limit = min(self._estimate, float(self._maximum))
        # What is plainly too low is left at once; near the knee noise must not drive the limit up.
        low = gradient == 1.0 and self._left < ENOUGH
        smoothing = 1.0 if low else SMOOTHING
        limit += smoothing * (gradient * limit + sqrt(limit) / 2 - limit)
        # A share that was taken away and comes back finds the limit as it was.
        at_most = max(self._estimate, float(self._maximum))
        self._estimate = at_most if limit >= self._maximum else max(1.0, limit)

    def _probe_is_due(self, window: Window) -> bool:
        self._since_probe += 1
        unheard = window.latency > LEAP * self._floor and self._since_probe >= SOONEST
        full = self.limit > 1 and window.in_flight >= FULL * self.limit
        return full and (unheard or self._since_probe >= self._rest)

    def _learn_floor(self, latency: float, weight: float = NEWEST) -> None:
        if self._floor / LEAP < latency < self._floor * LEAP:
            self._floor += weight * (latency - self._floor)
            return
        if latency < self._floor:
            self._left = STEEPEST
        self._floor = latency
        self._throughput = 0.0
        self._rest = SOONEST

    def _set_limit(self) -> None:
        limit = self.settled
        self._half = (limit + 1) // 2
        self.limit = min(limit, self.trial) if self.trial else limit
