"""When those who were sent away shall return: as a ramp, not as a second wave.

Each gets a second of its own to return in, the first that has room. A second has as much room as we
have served per second lately, so those who obey find a slot.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

#: The drain rate is measured over this many seconds, the running one not counted.
MEASURED_S = 5
#: Assumed until something was measured: one process of a small machine.
FIRST_RATE = 50.0
#: Of the drain rate, what is promised to those who return; the rest is for newcomers.
PROMISED = 0.8
#: Nobody is sent away for longer; when all seconds are full, those with the fewest take more.
LONGEST_S = 60


class Herd:
    """Hands out return times; safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._served: Counter[int] = Counter()
        self._returning: Counter[int] = Counter()
        self._first_served: int | None = None

    def served(self, requests: int = 1) -> None:
        """Tells that requests were finished: what the drain rate is made of."""
        second = int(self._clock())
        with self._lock:
            if self._first_served is None:
                self._first_served = second
            self._served[second] += requests

    def retry_after(self) -> int:
        """The seconds after which this client shall return; at least 1."""
        now = int(self._clock())
        with self._lock:
            self._forget_before(now)
            room = max(1, int(self._rate(now) * PROMISED))
            ahead = range(now + 1, now + 1 + LONGEST_S)
            second = next((each for each in ahead if self._returning[each] < room), None)
            if second is None:
                second = min(ahead, key=self._returning.__getitem__)
            self._returning[second] += 1
            return second - now

    def _rate(self, now: int) -> float:
        """Requests served per second, lately."""
        if self._first_served is None:
            return FIRST_RATE
        measured = min(MEASURED_S, now - self._first_served)
        if measured < 1:
            return max(FIRST_RATE, self._served[now])
        return sum(self._served[now - age] for age in range(1, measured + 1)) / measured

    def _forget_before(self, now: int) -> None:
        for second in [each for each in self._returning if each <= now]:
            del self._returning[second]
        for second in [each for each in self._served if each < now - MEASURED_S]:
            del self._served[second]
