"""How many ordinary newcomers are let in beside what is critical, so that it keeps its pace.

Critical requests go first wherever there is a queue of ours. But a process that fills what they
leave with others is always busy, and then each of their steps waits: for the event loop, the
interpreter's lock, the processor. Only idle time helps, and most of the time it is not worth its
price. It is worth it where too many come for some seconds, and most are sent away in any case: then
so many fewer newcomers are let in that 95 in 100 critical requests take no longer than `TOLERANCE`
times what 95 in 100 of them take in calm.
"""

import time
from collections import deque
from collections.abc import Callable
from math import exp, inf
from typing import NamedTuple

from stabilizer.gate.policy import Policy
from stabilizer.gate.ticket import Ticket

#: Of the critical requests, so many are to keep their pace.
QUANTILE = 0.95
#: How much longer they may take than in calm, as seen here. Their clients see about twice the time:
#: they also wait for the request to be read and the answer to be sent.
TOLERANCE = 1.5
#: What one request moves the share by, and what it moves the pace by; the first ones move it more.
STEP, PACE_STEP = 0.06, 0.02
#: Where fewer critical requests end in a second, those that are missing count as fast.
MANY_PER_S = 100
#: From so many in calm on, the pace of a kind is known.
KNOWN = 50
#: In calm at most so many ordinary requests are served beside.
BESIDE = 1
#: Too many come where fewer than this part of the callers are served, of at least so many in a
#: second. It has to last: a stampede's devices are sent away at once, and then return as a ramp.
SERVED = 2 / 3
FEWEST = 10
SPAN_S, LASTING_S = 1.0, 5.0
#: The share never falls below the first, and rises by the second in a second when all is over.
LEAST, BACK_PER_S = 0.02, 0.3
SHORTEST_S = 1e-6


Caller = tuple[str, str]


class Look(NamedTuple):
    """The tenant and device of those who were served, and were sent away, until a moment."""

    at: float
    served: set[Caller]
    sent_away: set[Caller]


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
        duration_s = max(duration_s, SHORTEST_S)
        self.seen += 1
        if self.seen == 1:
            self.usual_s = duration_s
        self.usual_s *= exp(max(PACE_STEP, 1 / self.seen) * nudge(duration_s > self.usual_s))

    @property
    def is_known(self) -> bool:
        return self.seen >= KNOWN


class Shedding:
    """A state machine without loop, thread or lock. `share` of the newcomers is let in.

    Threads that count at the same time may lose one of two counts: others follow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = 1.0
        self._clock = clock
        self._looked_at = clock()
        self._paces: dict[str, Pace] = {}
        #: A newcomer is let in whenever the shares of those who came make up a whole one.
        self._owed = 0.0
        self._acts = False
        self._too_many_since = inf
        #: Since the last look; and how many critical requests ended.
        self._served: set[Caller] = set()
        self._sent_away: set[Caller] = set()
        self._critical = 0
        self._looks: deque[Look] = deque()

    @property
    def sheds(self) -> bool:
        return self.share < 1

    def admits(self, policy: Policy, ticket: Ticket) -> bool:
        """Whether it is let in, as far as this goes."""
        if not is_newcomer(policy, ticket):
            return True
        self._owed += self.share
        if self._owed < 1:
            return False
        self._owed -= 1
        return True

    def sent_away(self, policy: Policy, ticket: Ticket) -> None:
        """There was no room for a request, or something more important to do."""
        if is_newcomer(policy, ticket):
            self._sent_away.add(ticket.names)

    def ended(self, policy: Policy, ticket: Ticket, duration_s: float, *, calm: bool) -> None:
        """An admitted request is over, `duration_s` after it came; `calm`: under no pressure."""
        if is_newcomer(policy, ticket):
            self._served.add(ticket.names)
        if ticket.level != "critical":
            return
        self._critical += 1
        pace = self._paces.setdefault(policy.name, Pace())
        if calm and ticket.beside <= BESIDE and not self.sheds:
            pace.learn(duration_s)
        elif self._acts and pace.is_known:
            self._move(-STEP * nudge(duration_s > TOLERANCE * pace.usual_s))

    def look(self, allowed: bool = True) -> None:
        """Find out for how long too many have come by now; to be called several times a second."""
        now = self._clock()
        elapsed_s, self._looked_at = now - self._looked_at, now
        self._looks.append(Look(now, self._served, self._sent_away))
        self._served, self._sent_away = set(), set()
        while self._looks[0].at <= now - SPAN_S:
            self._looks.popleft()
        since = min(self._too_many_since, now) if self._too_many_come else inf
        self._too_many_since = since
        self._acts = allowed and now - since >= LASTING_S
        if self._acts:
            missing = max(0.0, MANY_PER_S * elapsed_s - self._critical)
            self._move(-STEP * nudge(False) * missing)
        else:
            self.share = min(1.0, self.share + BACK_PER_S * elapsed_s)
        self._critical = 0

    def _move(self, by: float) -> None:
        self.share = min(1.0, max(LEAST, self.share * exp(by)))

    @property
    def _too_many_come(self) -> bool:
        served = set().union(*(each.served for each in self._looks))
        came = served.union(*(each.sent_away for each in self._looks))
        return len(came) >= FEWEST and len(served) < SERVED * len(came)


def is_newcomer(policy: Policy, ticket: Ticket) -> bool:
    """An ordinary request to which nothing was promised, and that no operator needs."""
    return ticket.level == "normal" and ticket.budget != "begun" and not policy.stays
