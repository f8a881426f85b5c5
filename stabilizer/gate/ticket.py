"""One request's claim to slots."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Literal

Level = Literal["admin", "critical", "normal", "sheddable"]
#: In the order in which they are served.
LEVELS: tuple[Level, ...] = ("critical", "normal", "admin", "sheddable")
Budget = Literal["begun", "pairing", "accounts", "devices", "subscribers", "site", "admin"]
#: What each budget gets, in per cent, where all of one criticality want more than there is; what
#: one leaves idle is lent to the others. A sign-in that was begun goes on before others begin.
SHARES: dict[Budget, float] = {
    "begun": 45,
    "pairing": 15,
    "accounts": 15,
    "devices": 10,
    "subscribers": 10,
    "site": 5,
    "admin": 10,
}


class State(Enum):
    #: Has not joined the queue.
    NEW = auto()
    WAITING = auto()
    GRANTED = auto()
    #: Left the queue, or gave its slots back.
    GONE = auto()


def _nobody() -> None:
    """Wakes nobody: the request did not have to wait."""


class Ticket:
    """Moments are of the clock that `Slots` was given; `names` are its tenant's and device's."""

    __slots__ = (
        "asked_at",
        "beside",
        "budget",
        "charged_s",
        "deadline",
        "granted_at",
        "held",
        "level",
        "names",
        "state",
        "took_s",
        "waited_s",
        "wake",
        "weight",
    )

    def __init__(
        self,
        level: Level = "normal",
        weight: int = 1,
        deadline: float = 0,
        asked_at: float = 0,
        budget: Budget = "site",
        names: tuple[str, str] = ("", ""),
    ) -> None:
        self.level: Level = level
        self.budget: Budget = budget
        self.names = names
        self.weight = weight
        self.deadline = deadline
        self.asked_at = asked_at
        #: In the queue, once that is over.
        self.waited_s = 0.0
        self.granted_at = 0.0
        #: For how long it had its slots, and how many ordinary ones were in use at the end.
        self.took_s, self.beside = 0.0, 0
        #: What its budget was charged for it, in seconds of each slot.
        self.charged_s = 0.0
        self.held = 0
        self.state = State.NEW
        #: Called once, when the ticket is granted or dropped from the queue.
        self.wake: Callable[[], None] = _nobody

    @property
    def kind(self) -> str:
        """What those who are sent away return as: ordinary ones by budget, others by level."""
        return self.budget if self.level == "normal" else self.level
