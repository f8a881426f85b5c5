"""The process's slots: who runs now, who waits, who leaves.

`Slots` is a state machine without loop, thread or lock, so that every order of events can be tried
on it. `waiting` stands in it for requests of an event loop, `wsgi` for threads.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from stabilizer.gate.drain import DrainRate
from stabilizer.gate.queue import Queue
from stabilizer.gate.ticket import LEVELS, SHARES, Budget, Level, State, Ticket

#: One slot in ten is kept for `critical` requests, and one in ten is the guarantee of `admin`.
TENTH = 10
#: A queue that has stood for longer than a rush grows no longer than this wait.
RUSH_S, SHORT_S = 1.0, 0.2
Clock = Callable[[], float]
#: How many of each criticality and budget.
Coming = Mapping[Level, Counter[Budget]]
NOBODY: Coming = {level: Counter() for level in LEVELS}


class Slots:
    """At most `limit` slots in use; the other tickets wait by criticality, then in turn.

    No criticality has more than `queue_length` tickets waiting. A ticket is settled exactly once:
    whatever happens to it in one tick, `leave` gives back what it was granted.
    """

    def __init__(self, limit: int, queue_length: int, clock: Clock) -> None:
        self.in_use = 0
        self.waiting = 0
        #: Tickets that left the queue without a slot: late, or their client gone, or crowded out.
        self.dropped = 0
        self.queue_length = queue_length
        self._clock = clock
        self._drain = DrainRate(clock)
        self._standing_since = clock()
        self._held: dict[Level, int] = dict.fromkeys(LEVELS, 0)
        #: Tickets that will come next, whatever is decided of them until then.
        self._coming: Coming = {level: Counter() for level in LEVELS}
        self._queues: dict[Level, Queue] = {level: Queue(SHARES) for level in LEVELS}
        #: Of the slots beside the reserve, so many are given out at most.
        self._most_ordinary = sys.maxsize
        self.resize(limit)

    def resize(self, limit: int) -> None:
        """Change the number of slots. Those in use beyond it are not given again once free."""
        self.limit = limit
        self._guaranteed = -(-limit // TENTH)
        # A reserve of the only slot would leave the others none.
        self.ordinary = limit - min(self._guaranteed, max(0, limit - 1))
        self.narrow(self._most_ordinary)

    def narrow(self, slots: int) -> None:
        """Of the `ordinary` slots, those beside the reserve, give out no more than so many."""
        self._most_ordinary = slots
        self._open = min(slots, self.ordinary)
        self._serve()

    @property
    def demand(self) -> int:
        """Slots that requests hold or wait for, and the reserve that must stand beside them."""
        wanted = self.in_use + sum(queue.asked for queue in self._queues.values())
        return wanted - (self.urgent_demand - wanted) // (TENTH - 1)

    @property
    def urgent_demand(self) -> int:
        """The part of `demand` that the reserve and the guarantee are kept for."""
        return sum(self._held[level] + self._queues[level].asked for level in ("critical", "admin"))

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
        coming = self._coming[ticket.level]
        coming[ticket.budget] += 1
        try:
            yield
        finally:
            coming[ticket.budget] -= 1

    def is_hopeless(self, ticket: Ticket) -> bool:
        """Whether there is no room to wait, or so many are ahead that it would be in vain."""
        return self._is_hopeless(ticket, self._coming)

    def _is_hopeless(self, ticket: Ticket, coming: Coming) -> bool:
        queue, sooner = self._queues[ticket.level], coming[ticket.level]
        if not self.waiting and not any(sooner.values()) and self._fits(ticket):
            return False
        if sooner.total() + queue.waiting >= self.queue_length and not queue.crowding(ticket):
            return True
        if not self.waiting or ticket.level == "admin":
            return False
        ahead = queue.ahead(ticket) + sooner[ticket.budget]
        for level in LEVELS[: LEVELS.index(ticket.level)]:
            ahead += self._queues[level].asked + coming[level].total()
        return ahead > self._drain.within(self._patience_s(ticket))

    def _patience_s(self, ticket: Ticket) -> float:
        """So long may its wait be expected to last.

        A rush is worth waiting out. In a queue that goes on standing everybody would wait that long
        for nothing but his turn, and be served when his client has given up.
        """
        now = self._clock()
        left_s = ticket.deadline - now
        if self.waiting and now - self._standing_since > RUSH_S and ticket.budget != "begun":
            return min(left_s, SHORT_S)
        return left_s

    def join(self, ticket: Ticket) -> bool:
        """Queue `ticket`, which may be settled before this returns; False if that is hopeless."""
        if self._is_hopeless(ticket, NOBODY):
            return False
        if not self.waiting:
            self._drain.begin()
            self._standing_since = self._clock()
        queue = self._queues[ticket.level]
        if queue.waiting >= self.queue_length and (crowding := queue.crowding(ticket)):
            self._drop(crowding)
        ticket.state = State.WAITING
        queue.add(ticket)
        self.waiting += 1
        self._serve()
        return True

    def leave(self, ticket: Ticket) -> None:
        """The request is over or waits no longer; what it holds goes on. Twice is once."""
        if ticket.state is State.GRANTED:
            ticket.state = State.GONE
            ticket.took_s = self._clock() - ticket.granted_at
            ticket.beside = self.in_use - self._held["critical"]
            self.in_use -= ticket.held
            self._held[ticket.level] -= ticket.held
            self._queues[ticket.level].ended(ticket)
            self._serve()
        elif ticket.state is State.WAITING:
            self._remove(ticket)
            # It may have been in the way of others.
            self._serve()
        ticket.state = State.GONE

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
            self._remove(ticket, served=True)
            self._grant(ticket)
            ticket.wake()

    def _next(self) -> Ticket | None:
        if not self.waiting:
            return None
        if self._held["admin"] < self._guaranteed and (admin := self._queues["admin"].first()):
            return admin
        return next((first for queue in self._queues.values() if (first := queue.first())), None)

    def _fits(self, ticket: Ticket) -> bool:
        level = ticket.level
        kept = level == "critical" or (level == "admin" and self._held["admin"] < self._guaranteed)
        # No request weighs more than all the slots it may have: it would wait for ever.
        ticket.held = min(ticket.weight, self.limit if kept else self._open)
        if not kept and self.in_use - self._held["critical"] + ticket.held > self._open:
            return False
        return self.limit > 0 and self.in_use + ticket.held <= self.limit

    def _grant(self, ticket: Ticket) -> None:
        ticket.state = State.GRANTED
        ticket.granted_at = self._clock()
        self.in_use += ticket.held
        self._held[ticket.level] += ticket.held
        self._queues[ticket.level].granted(ticket)
        if self.waiting:
            self._drain.count(ticket.held)

    def _drop(self, ticket: Ticket) -> None:
        self.dropped += 1
        self._remove(ticket)
        ticket.wake()

    def _remove(self, ticket: Ticket, served: bool = False) -> None:
        self._queues[ticket.level].remove(ticket, served)
        self.waiting -= 1
        ticket.state = State.GONE
