"""The same request again while it is refused: it hears the same, for a fraction of the work.

A device that does not wait sends what it sent before, header by header. Who it is and how long it
has to wait was found out a moment ago, and what it was told stays true until the second in its
Retry-After has passed.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from ratelimit.memory import Refusals
from stabilizer.gate.answers import Answer
from stabilizer.gate.arrival import Arrival
from stabilizer.gate.body import Body
from stabilizer.gate.identity import Caller
from stabilizer.gate.slots import Clock
from stabilizer.serving import Scope

#: Requests remembered, and the bytes of headers and body of one.
MOST = 2_000
LONGEST = 4_096


@dataclass(frozen=True, slots=True)
class Repeat:
    """A request that was refused, and what it was answered; `why` is what `Refusals` records."""

    arrival: Arrival
    caller: Caller
    content: Body
    why: tuple[Any, ...]
    answer: Answer

    def answer_to(self, arrival: Arrival) -> Answer:
        """The same answer, under the decision on `arrival`."""
        ours, its = self.arrival.decision_id.encode(), arrival.decision_id.encode()
        return Answer(self.answer.status, self.answer.headers, self.answer.body.replace(ours, its))


class _Known(NamedTuple):
    repeat: Repeat
    #: A moment of the clock, and `Refusals.changes` as they were.
    until: float
    changes: int


class Repeats:
    """Remembers answers to requests that `refusals` knows, until that changes its mind."""

    def __init__(self, refusals: Refusals, clock: Clock) -> None:
        self._refusals = refusals
        self._clock = clock
        self._known: dict[Hashable, _Known] = {}
        #: When the last of them is over.
        self._until = 0.0

    def find(self, scope: Scope) -> Repeat | None:
        """The refusal of a request with this method, path, sender and headers; not yet its body."""
        now = self._clock()
        if now >= self._until:
            # Where nobody is refused, no request pays for its key.
            self._known.clear()
            return None
        known = self._known.get(_head(scope))
        if known is None or now >= known.until or known.changes != self._refusals.changes:
            return None
        return known.repeat

    def remember(self, scope: Scope, repeat: Repeat, wait_s: float) -> None:
        """Keep what this request hears for `wait_s`, unless it is large or has an id of its own."""
        headers = scope["headers"]
        size = len(repeat.content.small) + sum(len(name) + len(value) for name, value in headers)
        arrival = repeat.arrival
        if size > LONGEST or repeat.content.spooled or arrival.request_id != arrival.decision_id:
            return
        until = self._clock() + wait_s - max(0, ceil(wait_s) - 1)
        head = _head(scope)
        self._known.pop(head, None)
        self._known[head] = _Known(repeat, until, self._refusals.changes)
        self._until = max(self._until, until)
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]


def _head(scope: Scope) -> Hashable:
    """All that a refusal depends on, but for the body. The query is no part of it."""
    peer, _port = scope.get("client") or ("", 0)
    return scope["method"], scope["path"], scope.get("root_path"), peer, tuple(scope["headers"])
