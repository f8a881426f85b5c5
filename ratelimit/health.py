"""Whether Redis may be asked: a small machine fed with what calls and probes experience."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

logger = logging.getLogger(__name__)

#: Errors, or slow calls, within `MEMORY_S` that end the trust in the store.
TROUBLES = 3
MEMORY_S = 1.0


class Mode(StrEnum):
    """`HEALTHY`: asked. `SUSPECT`: being probed right now. `LOCAL`: away, probed once a second.
    `RECOVERING`: asked again, the stricter of it and the local limits holds.
    """

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    LOCAL = "local"
    RECOVERING = "recovering"


class Health:
    """Turns outcomes into a `Mode`; safe to feed from any thread.

    One error makes the store suspect, and nobody waits for it until a probe has answered: a hung
    store costs the calls under way their time-out and the next ones nothing. Slow calls make it
    suspect when they are at least three and more than 1 % of the last second's (its p99 is above
    10 ms); such a store is still asked while the probes decide.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, recovering_s: float = 60.0
    ) -> None:
        self.mode = Mode.HEALTHY
        #: When the store last came back, by the clock.
        self.recovered_at = float("-inf")
        self.changed = threading.Event()
        self._clock = clock
        self._recovering_s = recovering_s
        self._lock = threading.Lock()
        self._calls: deque[tuple[float, bool]] = deque()
        self._slow = 0
        self._failures: deque[float] = deque(maxlen=TROUBLES)
        self._steady = Mode.HEALTHY
        self._erred = False

    @property
    def asks(self) -> bool:
        """Whether a call should go to the store now."""
        return self.mode is Mode.HEALTHY or (self.mode is not Mode.LOCAL and not self._erred)

    @property
    def recovered_s(self) -> float:
        """How long ago the store came back; infinite if it has never been away."""
        return self._clock() - self.recovered_at

    @property
    def is_back(self) -> bool:
        """Whether the store came back a short while ago: others may not have found it yet."""
        return self.recovered_s < self._recovering_s

    def answered(self, slow: bool) -> None:
        """A call came back; `slow` if the store took longer than a step of `pace` over it."""
        now = self._clock()
        with self._lock:
            self._calls.append((now, slow))
            self._slow += slow
            while self._calls[0][0] <= now - MEMORY_S:
                self._slow -= self._calls.popleft()[1]
            if self._slow >= TROUBLES and self._slow * 100 > len(self._calls):
                self._suspect(erred=False)
            elif self.mode is Mode.RECOVERING and self._recovered(now):
                self._enter(Mode.HEALTHY)

    def failed(self) -> None:
        """A call, or a probe, got no answer."""
        now = self._clock()
        with self._lock:
            self._failures.append(now)
            recent = sum(at > now - MEMORY_S for at in self._failures)
            if recent >= TROUBLES:
                self._enter(Mode.LOCAL)
            else:
                self._suspect(erred=True)

    def probed(self, good: bool) -> bool:
        """The probes have decided: `good` if one of them was answered in time.

        True if they found the store back. It may have gone while they were asking.
        """
        now = self._clock()
        with self._lock:
            is_back = good and self.mode is Mode.LOCAL
            if not good:
                self._enter(Mode.LOCAL)
            elif is_back:
                self.recovered_at = now
                self._enter(Mode.RECOVERING)
            elif self.mode is Mode.SUSPECT:
                self._enter(self._steady)
            return is_back

    def waited(self) -> None:
        """Time has passed in which nobody may have called: a recovery may be over by now."""
        now = self._clock()
        with self._lock:
            if self.mode is Mode.RECOVERING and self._recovered(now):
                self._enter(Mode.HEALTHY)

    def _recovered(self, now: float) -> bool:
        return now >= self.recovered_at + self._recovering_s

    def _suspect(self, *, erred: bool) -> None:
        if self.mode in (Mode.HEALTHY, Mode.RECOVERING):
            self._steady = self.mode
            self._enter(Mode.SUSPECT)
        self._erred = self._erred or erred

    def _enter(self, mode: Mode) -> None:
        if mode is self.mode:
            return
        serious = Mode.LOCAL in (mode, self.mode)
        logger.log(logging.WARNING if serious else logging.INFO, "store %s > %s", self.mode, mode)
        if self.mode is Mode.LOCAL:
            self._failures.clear()
        self.mode = mode
        self._erred = False
        if mode is not Mode.SUSPECT:
            self._calls.clear()
            self._slow = 0
        self.changed.set()
