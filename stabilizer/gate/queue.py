"""Those who wait for a slot, and who of them is next.

Each criticality has a queue. In it the budgets take turns by what they have used of their shares
(stride scheduling, Waldspurger and Weihl 1995, charged with slot-seconds), within a budget the
tenants in rounds, and within a tenant its devices. Whoever comes a hundred times as often as others
waits behind itself.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from stabilizer.gate.ticket import Budget, Ticket

#: What the newest request counts in how long those of a budget usually take.
NEWEST = 0.05


class Line:
    """The tickets of one device, first come first."""

    __slots__ = ("_tickets",)

    def __init__(self) -> None:
        self._tickets: OrderedDict[Ticket, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        return len(self._tickets)

    def add(self, ticket: Ticket, _: tuple[str, ...]) -> None:
        self._tickets[ticket] = None

    def remove(self, ticket: Ticket, _: tuple[str, ...], served: bool) -> None:
        del self._tickets[ticket]

    def first(self) -> Ticket:
        return next(iter(self._tickets))

    def last(self) -> Ticket:
        return next(reversed(self._tickets))

    def ahead(self, _: tuple[str, ...]) -> int:
        return len(self._tickets)


class Turns:
    """Members who take turns: the tenants of a budget, and the devices of a tenant."""

    __slots__ = ("_depth", "members", "waiting")

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self.waiting = 0
        #: Who is next in front.
        self.members: OrderedDict[str, Turns | Line] = OrderedDict()

    def add(self, ticket: Ticket, names: tuple[str, ...]) -> None:
        """`names` say whose ticket it is: one for each level of turns."""
        self.waiting += 1
        member = self.members.get(names[0])
        if member is None:
            member = Turns(self._depth - 1) if self._depth > 1 else Line()
            self.members[names[0]] = member
        member.add(ticket, names[1:])

    def remove(self, ticket: Ticket, names: tuple[str, ...], served: bool) -> None:
        """It waits no longer; if it was `served`, others of its name go to the end of the round."""
        self.waiting -= 1
        member = self.members[names[0]]
        member.remove(ticket, names[1:], served)
        if not member.waiting:
            del self.members[names[0]]
        elif served:
            self.members.move_to_end(names[0])

    def first(self) -> Ticket:
        return next(iter(self.members.values())).first()

    def last(self) -> Ticket:
        return next(reversed(self.members.values())).last()

    def ahead(self, names: tuple[str, ...]) -> int:
        """So many of those who wait, at most, are served before one who joins now."""
        member = self.members.get(names[0])
        own = member.ahead(names[1:]) if member else 0
        others = len(self.members) - (member is not None)
        return min(self.waiting, own + others * (own + 1))


class Flow:
    """The requests of one budget."""

    __slots__ = ("share", "turns", "used", "usual_s")

    def __init__(self, share: float) -> None:
        self.share = share
        #: Slot-seconds by share. Who has used least is next.
        self.used = 0.0
        self.usual_s = 0.0
        self.turns = Turns(depth=2)


class Queue:
    """Those of one criticality who wait. `shares` are the budgets'."""

    def __init__(self, shares: Mapping[Budget, float]) -> None:
        self.waiting = 0
        #: Slots that they wait for.
        self.asked = 0
        self._flows = {budget: Flow(share) for budget, share in shares.items()}
        #: What the flow that was served last had used: nobody saves up while it asks for nothing.
        self._now = 0.0

    def add(self, ticket: Ticket) -> None:
        flow = self._flows[ticket.budget]
        if not flow.turns.waiting:
            flow.used = max(flow.used, self._now)
        flow.turns.add(ticket, ticket.names)
        self.waiting += 1
        self.asked += ticket.weight

    def remove(self, ticket: Ticket, served: bool) -> None:
        self._flows[ticket.budget].turns.remove(ticket, ticket.names, served)
        self.waiting -= 1
        self.asked -= ticket.weight

    def first(self) -> Ticket | None:
        """Who is next, or None if nobody waits."""
        if not self.waiting:
            return None
        return min(self._active(), key=lambda flow: flow.used).turns.first()

    def granted(self, ticket: Ticket) -> None:
        """Charge its budget with the slots for as long as those like it usually take."""
        flow = self._flows[ticket.budget]
        flow.used = max(flow.used, self._now) if not flow.turns.waiting else flow.used
        self._now = max(self._now, flow.used)
        ticket.charged_s = flow.usual_s
        flow.used += ticket.held * ticket.charged_s / flow.share

    def ended(self, ticket: Ticket) -> None:
        """It has given its slots back: charge what it really took."""
        flow = self._flows[ticket.budget]
        flow.used += ticket.held * (ticket.took_s - ticket.charged_s) / flow.share
        flow.usual_s += NEWEST * (ticket.took_s - flow.usual_s)

    def ahead(self, ticket: Ticket) -> float:
        """So many slots, about, are given before `ticket` gets its own if it joins now."""
        if not self.waiting:
            return 0
        own = self._flows[ticket.budget]
        before = own.turns.ahead(ticket.names)
        turns = (before + 1) / own.share
        others = sum(
            min(flow.turns.waiting, turns * flow.share)
            for flow in self._active()
            if flow is not own
        )
        return (before + others) * self.asked / self.waiting

    def crowding(self, ticket: Ticket) -> Ticket | None:
        """The last of the tenant that crowds the others out, if that is not the ticket's own."""
        tenants = [each for flow in self._active() for each in flow.turns.members.values()]
        most = max(tenants, key=lambda each: each.waiting, default=None)
        own = self._flows[ticket.budget].turns.members.get(ticket.names[0])
        if most is None or most.waiting <= (own.waiting if own else 0) + 1:
            return None
        return most.last()

    def _active(self) -> Iterator[Flow]:
        return (flow for flow in self._flows.values() if flow.turns.waiting)
