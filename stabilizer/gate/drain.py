"""How fast a queue moves: measured while it stands, so that nobody has to wait in vain."""

from collections.abc import Callable

#: The rate is that of the last whole window; a shorter one would jump with every slow request.
WINDOW_S = 0.5
#: What a new window counts in the mean over the last few: one alone is 20 % off either way.
NEWEST = 0.2


class DrainRate:
    """What was granted per second lately, unknown until a window has passed in a standing queue."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: The mean of the last windows, of whichever queue; 0 before there was one.
        self.mean_per_s = 0.0
        self.begin()

    def begin(self) -> None:
        """The queue begins to stand: what came before says nothing of how fast it will move."""
        self._began = self._clock()
        self._granted = 0
        self._per_s = float("inf")

    def count(self, granted: int) -> None:
        self._roll()
        self._granted += granted

    def within(self, seconds: float) -> float:
        """How much will be granted in so many seconds, at the rate of late; endless if unknown."""
        self._roll()
        return self._per_s * seconds if seconds > 0 else 0

    def _roll(self) -> None:
        now = self._clock()
        if now - self._began >= WINDOW_S:
            self._per_s = self._granted / (now - self._began)
            before = self.mean_per_s or self._per_s
            self.mean_per_s = before + NEWEST * (self._per_s - before)
            self._began, self._granted = now, 0
