"""When the tasks that a process puts back shall return: a few at a time, however many there are.

A task that returns in vain costs about as much as a small one that runs, so that many of them would
take from requests what they should leave to them.
"""

import math
import random
import time
from collections.abc import Callable

#: A task rests for so long at first, and twice as long each time.
FIRST_S, USUAL_S = 1.0, 8.0
#: And for longer where more rest than can return with so much time between two of them.
APART_S = 0.1
#: A worker holds it meanwhile, so that this must be over, and its run as well, before the broker
#: takes the message for abandoned.
LONGEST_S = 60.0


class Pace:
    """Hands out the rests of one process's tasks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: The turns of all that rest are over then.
        self._turns_end = -math.inf

    def rest_s(self, yields: int) -> float:
        """How long a task rests that was put back `yields` times before."""
        now = self._clock()
        self._turns_end = max(now, self._turns_end) + APART_S
        turn_s = self._turns_end - now
        if turn_s > LONGEST_S:
            self._turns_end = now + LONGEST_S
            return _spread(LONGEST_S)
        return max(turn_s, _spread(min(USUAL_S, FIRST_S * 2.0 ** min(yields, 16))))


def _spread(longest_s: float) -> float:
    """So that few meet, whatever process they are of."""
    return longest_s * random.uniform(0.5, 1)  # noqa: S311  it only spreads the tries
