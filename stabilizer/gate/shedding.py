"""How many ordinary newcomers are let in beside what is critical, so that it keeps its pace.

Critical requests go first wherever there is a queue of ours. But a process that fills what they
leave with others is always busy, and then each of their steps waits: for the event loop, the
interpreter's lock, the processor. Only idle time helps, and most of the time it is not worth its
price. It is where too many come for some seconds, and most are sent away in any case: then so many
fewer newcomers are let in that 95 in 100 critical requests take no longer than `TOLERANCE` times
what 95 in 100 of them take in calm.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable
from math import exp, inf

from stabilizer.gate.ticket import Ticket

#: Of the critical requests, so many are to keep their pace.
QUANTILE = 0.95
#: How much longer they may take than in calm, as seen here. A client sees twice the time: it also
#: waits for its request to be read and its answer to be sent.
TOLERANCE = 1.5
#: What one request moves the share by, and what it moves the pace by; the first ones move it more.
STEP, PACE_STEP = 0.06, 0.02
#: From so many in calm on, the pace of a kind is known.
KNOWN = 50
#: In calm at most so many ordinary requests are served beside.
BESIDE = 1
#: Too many come where fewer than this part of them are served, of at least so many in a second. It
#: has to last: after the first seconds of a stampede people return as they were told.
SERVED = 2 / 3
FEWEST = 10
SPAN_S, LASTING_S = 1.0, 3.0
#: The share never falls below the first, and rises by the second in a second when all is over.
LEAST, BACK_PER_S = 0.02, 0.3


def nudge(beyond: bool) -> float:
    """The step towards a quantile: as often up as down where `QUANTILE` of all are not beyond.

    Stochastic approximation (Robbins and Monro, 1951).
    """
    return QUANTILE if beyond else QUANTILE - 1


class Pace:
    """What 95 in 100 requests of a kind take at most while nothing is in their way."""

    __slots__ = ("seen", "usual_s")

    def __init__(self) -> None:
        self.seen = 0
        self.usual_s = 0.0

    def learn(self, duration_s: float) -> None:
        self.seen += 1
        if self.seen == 1:
            self.usual_s = duration_s
        self.usual_s *= exp(max(PACE_STEP, 1 / self.seen) * nudge(duration_s > self.usual_s))

    @property
    def is_known(self) -> bool:
        return self.seen >= KNOWN


class Shedding:
    """A state machine without loop, thread or lock. `share` of the newcomers is let in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = 1.0
        self._clock = clock
        self._looked_at = clock()
        self._paces: dict[Hashable, Pace] = {}
        #: A newcomer is let in whenever the shares of those who came make up a whole one.
        self._owed = 0.0
        self._acts = False
        self._too_many_since = inf
        self._came = self._served = 0
        #: Of each look: its time, how many came, and how many were served.
        self._looks: deque[tuple[float, int, int]] = deque()

    @property
    def sheds(self) -> bool:
        return self.share < 1

    def admits(self, ticket: Ticket) -> bool:
        """Whether it is let in, as far as this goes. What was begun, and was told to come, is."""
        if not is_newcomer(ticket):
            return True
        self._came += 1
        self._owed += self.share
        if self._owed < 1:
            return False
        self._owed -= 1
        return True

    def ended(self, kind: Hashable, ticket: Ticket, duration_s: float, *, calm: bool) -> None:
        """An admitted request is over, `duration_s` after it came; `calm`: under no pressure."""
        if is_newcomer(ticket):
            self._served += 1
        if ticket.level != "critical":
            return
        pace = self._paces.setdefault(kind, Pace())
        if calm and ticket.beside <= BESIDE and not self.sheds:
            pace.learn(duration_s)
        elif self._acts and pace.is_known:
            slow = duration_s > TOLERANCE * pace.usual_s
            self.share = min(1.0, max(LEAST, self.share * exp(-STEP * nudge(slow))))

    def look(self, allowed: bool = True) -> None:
        """Find out for how long too many have come by now; to be called several times a second."""
        now = self._clock()
        self._looks.append((now, self._came, self._served))
        self._came = self._served = 0
        while self._looks[0][0] <= now - SPAN_S:
            self._looks.popleft()
        since = min(self._too_many_since, now) if self._too_many_come else inf
        self._too_many_since = since
        self._acts = allowed and now - since >= LASTING_S
        if not self._acts:
            self.share = min(1.0, self.share + BACK_PER_S * (now - self._looked_at))
        self._looked_at = now

    @property
    def _too_many_come(self) -> bool:
        came, served = (sum(each[part] for each in self._looks) for part in (1, 2))
        return came >= FEWEST and served < SERVED * came


def is_newcomer(ticket: Ticket) -> bool:
    """An ordinary request that nobody has been promised anything for."""
    return ticket.level == "normal" and ticket.budget != "begun"
