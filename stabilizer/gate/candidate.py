"""A request of which it is known whose it is, on its way in."""

from dataclasses import dataclass

from ratelimit.gcra import Charge
from stabilizer.gate.arrival import Arrival
from stabilizer.gate.breaker import Breaker
from stabilizer.gate.identity import Caller
from stabilizer.gate.ticket import Ticket


@dataclass(slots=True)
class Candidate:
    """What is decided about: who asks for what, what that costs, and the claim to a slot."""

    arrival: Arrival
    caller: Caller
    charges: list[Charge]
    ticket: Ticket
    #: The one that counts such a request, if one does.
    breaker: Breaker | None
    #: It asks for what is kept for a moment, and goes to renew the copy that there is.
    renews: bool = False

    @property
    def charged(self) -> list[Charge]:
        """All that goes back if it gets nothing."""
        return [*self.charges, *self.arrival.beside]
