"""When those who were sent away shall return: as a ramp, not as a second wave.

Each gets a second of its own to return in, the first that has room. A second has as much room for
requests of a kind as we have served of that kind per second lately, and as was idle: so those who
obey find a slot. Whoever was let in brings requests of other kinds with it, which take their part.
"""

import math
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Hashable

#: The drain rate is measured over this many seconds, the running one not counted.
MEASURED_S = 5
#: Assumed until something was measured: one process of a small machine.
FIRST_RATE = 50.0
#: Of what we can serve, how much is promised to those who return. More than all of it: whoever
#: finds no room after all hears so at once, which costs little; what nobody comes for is lost.
PROMISED = 1.15
#: Of the drain rate of all kinds, what a kind is promised at least, if none was served lately.
LEAST_SHARE = 0.2
#: Who comes so many seconds after the one that it was told, at the latest, has obeyed.
ON_TIME_S = 3
#: So many of those who were told when to return are recognised.
REMEMBERED = 20_000
#: Nobody is sent away for longer; when all seconds are full, those with the fewest take more.
LONGEST_S = 60
#: Until the rate was measured under load: too soon costs a refusal, too late leaves us idle.
FIRST_LONGEST_S = 10


class Herd:
    """Hands out return times; safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: In which second the rush of now began, and in which somebody was sent away last.
        self._rush_began = self._sent_away = -math.inf
        #: The second in which each is to return, those who were told last at the end.
        self._told: OrderedDict[Hashable, int] = OrderedDict()
        self._all = Drain()
        self._drains: defaultdict[str, Drain] = defaultdict(Drain)
        self._places: defaultdict[str, Places] = defaultdict(Places)

    def served(self, kind: str = "", requests: int = 1) -> None:
        """Tells that requests of a kind were finished: what its drain rate is made of."""
        now = int(self._clock())
        with self._lock:
            self._all.count(now, requests)
            self._drains[kind].count(now, requests)

    def retry_after(self, kind: str = "", capacity: float = 0, who: Hashable = None) -> int:
        """The seconds after which this client shall return; at least 1. `who` is remembered.

        `capacity` is what can be served per second, as measured while there was more to do than
        that: what we have served less than it is idle.
        """
        now = int(self._clock())
        with self._lock:
            known = self._rushing_s(now) >= MEASURED_S or capacity > 0
            longest_s = LONGEST_S if known else FIRST_LONGEST_S
            total = self._all.rate(now)
            rate = max(self._drains[kind].rate(now), total * LEAST_SHARE)
            rate += max(0, capacity - total)
            room = max(1, round(rate * PROMISED))
            second = self._places[kind].take(now, room, longest_s)
            if who is not None:
                self._told[who] = second
                self._told.move_to_end(who)
                if len(self._told) > REMEMBERED:
                    self._told.popitem(last=False)
            return second - now

    def is_due(self, who: Hashable) -> bool:
        """Whether it was told to return about now, and does. Once: then it is a newcomer again."""
        second = self._told.get(who)
        if second is None or not second <= self._clock() < second + ON_TIME_S:
            return False
        with self._lock:
            return self._told.pop(who, None) is not None

    def _rushing_s(self, now: int) -> float:
        """For how long more have come than there is room for; somebody is sent away right now.

        What was served before says nothing of how much we can serve.
        """
        if now - self._sent_away > MEASURED_S:
            self._rush_began = now
        self._sent_away = now
        return now - self._rush_began


class Places:
    """How many of one kind return in each of the seconds to come."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self._ahead = range(0)
        #: Of a second, and how many one takes by now, since all of them are full.
        self._room = self._most = 0
        #: No second before this one takes any more.
        self._at = 0

    def take(self, now: int, room: int, longest_s: int) -> int:
        """The first second after `now` with fewer than `room`, or the first of the emptiest."""
        ahead = range(now + 1, now + 1 + longest_s)
        if ahead != self._ahead or room != self._room:
            self._look_again(ahead, room)
        while self._taken[self._at] >= self._most:
            self._at += 1
            if self._at not in ahead:
                self._at = ahead[0]
                self._most = max(self._most, 1 + min(map(self._taken.__getitem__, ahead)))
        self._taken[self._at] += 1
        return self._at

    def _look_again(self, ahead: range, room: int) -> None:
        for past in [second for second in self._taken if second < ahead[0]]:
            del self._taken[past]
        self._ahead, self._at = ahead, ahead[0]
        self._room = self._most = room


class Drain:
    """How many requests were finished in each of the last seconds."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._first: int | None = None
        #: The last answer of `rate`, and its second: it depends on seconds that are over.
        self._rate = (-1, FIRST_RATE)

    def count(self, now: int, requests: int) -> None:
        if self._first is None:
            self._first = now
        self._counts[now] += requests
        if len(self._counts) > MEASURED_S + 1:
            for past in [second for second in self._counts if second < now - MEASURED_S]:
                del self._counts[past]

    def rate(self, now: int) -> float:
        """Requests per second, lately."""
        if self._first is None:
            return FIRST_RATE
        measured = min(MEASURED_S, now - self._first)
        if measured < 1:
            return max(FIRST_RATE, self._counts[now])
        if self._rate[0] != now:
            counted = sum(self._counts[now - age] for age in range(1, measured + 1))
            self._rate = (now, counted / measured)
        return self._rate[1]
