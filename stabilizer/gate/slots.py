"""The process's slots: who runs now, who waits in which order, who leaves.

`Slots` is a state machine without loop, thread or lock, so that every order of events can be tried
on it. `waiting` stands in it for requests of an event loop, `wsgi` for threads.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from typing import Literal

from stabilizer.gate.drain import DrainRate

#: One slot in ten is kept for `critical` requests, and one in ten is the guarantee of `admin`.
TENTH = 10
Place = Literal["admin", "critical", "begun", "normal", "sheddable"]
#: In the order in which they are served.
ORDER: tuple[Place, ...] = ("critical", "begun", "normal", "admin", "sheddable")
#: Where both wait, so many requests that carry on what was begun go before one that begins.
BEGUN_FIRST = 3
NONE_EXPECTED: Mapping[Place, int] = dict.fromkeys(ORDER, 0)
Clock = Callable[[], float]


class State(Enum):
    WAITING = auto()
    GRANTED = auto()
    #: Left the queue, or gave its slots back.
    GONE = auto()


def _nobody() -> None:
    """Wakes nobody: the request did not have to wait."""


class Ticket:
    """One request's claim to slots. Moments are of the clock that `Slots` was given."""

    __slots__ = ("asked_at", "deadline", "held", "place", "state", "waited_s", "wake", "weight")

    def __init__(
        self, place: Place = "normal", weight: int = 1, deadline: float = 0, asked_at: float = 0
    ) -> None:
        self.place: Place = place
        self.weight = weight
        self.deadline = deadline
        self.asked_at = asked_at
        #: In the queue, once that is over.
        self.waited_s = 0.0
        self.held = 0
        self.state = State.WAITING
        #: Called once, when the ticket is granted or dropped from the queue.
        self.wake: Callable[[], None] = _nobody


class Slots:
    """At most `limit` slots in use; the other tickets wait by criticality, then first come first.

    No class of tickets has more than `queue_length` waiting. A ticket is settled exactly once:
    whatever happens to it in one tick, `leave` gives back what it was granted.
    """

    def __init__(self, limit: int, queue_length: int, clock: Clock) -> None:
        self.in_use = 0
        self.waiting = 0
        #: Tickets whose deadline had passed, or whose client had left, before they got a slot.
        self.dropped = 0
        self._clock = clock
        self._drain = DrainRate(clock)
        self.queue_length = queue_length
        #: Requests of what was begun that were served while others waited to begin.
        self._overtook = 0
        self._held: dict[Place, int] = dict.fromkeys(ORDER, 0)
        self._asked: dict[Place, int] = dict.fromkeys(ORDER, 0)
        #: By tickets that will come next, whatever is decided of them until then.
        self._expected: dict[Place, int] = dict.fromkeys(ORDER, 0)
        self._queues: dict[Place, OrderedDict[Ticket, None]] = {
            place: OrderedDict() for place in ORDER
        }
        self.resize(limit)

    def resize(self, limit: int) -> None:
        """Change the number of slots. Those in use beyond it are not given again once free."""
        self.limit = limit
        self._guaranteed = -(-limit // TENTH)
        # A reserve of the only slot would leave the others none.
        self._open = limit - min(self._guaranteed, max(0, limit - 1))
        self._serve()

    @property
    def demand(self) -> int:
        """Slots that requests hold or wait for, and the reserve that must stand beside them."""
        wanted = self.in_use + sum(self._asked.values())
        return wanted - (self.urgent_demand - wanted) // (TENTH - 1)

    @property
    def urgent_demand(self) -> int:
        """The part of `demand` that the reserve and the guarantee are kept for."""
        return sum(self._held[place] + self._asked[place] for place in ("critical", "admin"))

    @property
    def capacity(self) -> float:
        """Slots granted per second while a queue stood lately; 0 if none ever has."""
        return self._drain.mean_per_s

    def take(self, ticket: Ticket) -> bool:
        """Grant `ticket` its slots at once, unless others wait for them or its time is up."""
        if self.waiting or ticket.deadline <= self._clock() or not self._fits(ticket):
            return False
        self._grant(ticket)
        return True

    @contextmanager
    def expecting(self, ticket: Ticket) -> Iterator[None]:
        """`ticket` comes after this block; those who come meanwhile count it as before them."""
        self._expected[ticket.place] += ticket.weight
        try:
            yield
        finally:
            self._expected[ticket.place] -= ticket.weight

    def is_hopeless(self, ticket: Ticket) -> bool:
        """Whether there is no room to wait, or so many are ahead that it would be in vain."""
        return self._is_hopeless(ticket, self._expected)

    def _is_hopeless(self, ticket: Ticket, expected: Mapping[Place, int]) -> bool:
        sooner = expected[ticket.place]
        if not self.waiting and not sooner and self._fits(ticket):
            return False
        if sooner + len(self._queues[ticket.place]) >= self.queue_length:
            return True
        if not self.waiting or ticket.place == "admin":
            return False
        ahead = self._ahead(ticket.place, expected)
        return ahead > self._drain.within(ticket.deadline - self._clock())

    def _ahead(self, place: Place, expected: Mapping[Place, int]) -> int:
        before = ORDER[: ORDER.index(place) + 1]
        ahead = {each: self._asked[each] + expected[each] for each in before}
        if place == "normal":
            ahead["begun"] = min(ahead["begun"], BEGUN_FIRST * (ahead["normal"] + 1))
        return sum(ahead.values())

    def join(self, ticket: Ticket) -> bool:
        """Queue `ticket`, which may be settled before this returns; False if that is hopeless."""
        if self._is_hopeless(ticket, NONE_EXPECTED):
            return False
        if not self.waiting:
            self._drain.begin()
        self._queues[ticket.place][ticket] = None
        self.waiting += 1
        self._asked[ticket.place] += ticket.weight
        self._serve()
        return True

    def leave(self, ticket: Ticket) -> None:
        """The request is over or waits no longer; what it holds goes on. Twice is once."""
        if ticket.state is State.GRANTED:
            ticket.state = State.GONE
            self.in_use -= ticket.held
            self._held[ticket.place] -= ticket.held
            self._serve()
        elif ticket.state is State.WAITING:
            self._remove(ticket)
            # It may have been in the way of others.
            self._serve()

    def drop(self, ticket: Ticket) -> None:
        """Its deadline has passed or its client has left. A ticket that was granted stays so."""
        if ticket.state is State.WAITING:
            self._drop(ticket)
            self._serve()

    def _serve(self) -> None:
        while (ticket := self._next()) is not None:
            if ticket.deadline <= self._clock():
                self._drop(ticket)
                continue
            if not self._fits(ticket):
                return
            self._remove(ticket)
            self._count_overtaking(ticket.place)
            self._grant(ticket)
            ticket.wake()

    def _count_overtaking(self, place: Place) -> None:
        if place == "normal" or not self._queues["normal"]:
            self._overtook = 0
        elif place == "begun":
            self._overtook += 1

    def _next(self) -> Ticket | None:
        if not self.waiting:
            return None
        if self._queues["admin"] and self._held["admin"] < self._guaranteed:
            return next(iter(self._queues["admin"]))
        normal = self._queues["normal"]
        if normal and self._overtook >= BEGUN_FIRST and not self._queues["critical"]:
            return next(iter(normal))
        return next((ticket for queue in self._queues.values() for ticket in queue), None)

    def _fits(self, ticket: Ticket) -> bool:
        place = ticket.place
        kept = place == "critical" or (place == "admin" and self._held["admin"] < self._guaranteed)
        # No request weighs more than all the slots it may have: it would wait for ever.
        ticket.held = min(ticket.weight, self.limit if kept else self._open)
        if not kept and self.in_use - self._held["critical"] + ticket.held > self._open:
            return False
        return self.limit > 0 and self.in_use + ticket.held <= self.limit

    def _grant(self, ticket: Ticket) -> None:
        ticket.state = State.GRANTED
        self.in_use += ticket.held
        self._held[ticket.place] += ticket.held
        if self.waiting:
            self._drain.count(ticket.held)

    def _drop(self, ticket: Ticket) -> None:
        self.dropped += 1
        self._remove(ticket)
        ticket.wake()

    def _remove(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.place]
        if ticket in queue:
            del queue[ticket]
            self.waiting -= 1
            self._asked[ticket.place] -= ticket.weight
        ticket.state = State.GONE
