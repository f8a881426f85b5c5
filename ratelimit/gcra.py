"""The generic cell rate algorithm: a key is one moment, its theoretical arrival time (TAT).

Every unit moves the TAT one emission interval further. A request is allowed while the TAT stays
within the window ahead of now, so a caller may burst to its whole quantity and then gets one unit
back every `window / quantity`. Time is in whole microseconds throughout. Source: ITU-T I.371, as
brandur/redis-cell words it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

StoreAway = Literal["local", "open", "closed"]
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """`quantity` units in `window_s` seconds: "5 per 5 min" bursts to 5 and regains one a minute.

    `store_away` says what holds while Redis cannot be asked: this process's share of the limit, no
    limit, or no request. `refundable` limits are given back later when the request was a good one,
    so a refusal by them is never remembered.
    """

    name: str
    quantity: int
    window_s: int
    store_away: StoreAway = "local"
    refundable: bool = False
    emission_us: int = field(init=False, repr=False, compare=False)
    tolerance_us: int = field(init=False, repr=False, compare=False)
    #: One unit of this limit as `charge.lua` reads it.
    unit: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.quantity <= self.window_s * SECOND_US:
            raise ValueError(f"limit {self.name!r}: {self.quantity} per {self.window_s} s")
        emission_us = self.window_s * SECOND_US // self.quantity
        object.__setattr__(self, "emission_us", emission_us)
        object.__setattr__(self, "tolerance_us", emission_us * self.quantity)
        object.__setattr__(self, "unit", self.priced(1))

    def priced(self, cost: int) -> str:
        """`cost` units as `charge.lua` reads them: emission, tolerance and increment, microseconds.

        More than the whole quantity could never be had, so such a cost takes the whole quantity.
        """
        increment_us = min(cost, self.quantity) * self.emission_us
        return f"{self.emission_us} {self.emission_us * self.quantity} {increment_us}"


class Charge(NamedTuple):
    """`cost` units of `limit`, taken from the account `key`. A negative cost gives them back."""

    limit: Limit
    key: str
    cost: int = 1


class Quota(NamedTuple):
    """What is left of a limit, and the seconds until there is more (0: it is untouched)."""

    limit: Limit
    remaining: int
    reset_s: int


class Verdict(NamedTuple):
    """Allowed or not; `quotas` in the order of the charges.

    A refusal names all `violated` limits and waits for the longest. `local` verdicts were made
    without Redis; `unavailable` ones refuse because a limit is closed while Redis is away, which is
    our fault (503) and not the caller's (429).
    """

    allowed: bool
    quotas: tuple[Quota, ...]
    violated: tuple[str, ...] = ()
    retry_after_s: float = 0
    local: bool = False
    unavailable: bool = False

    def refused(self, charges: Sequence[Charge]) -> list[Charge]:
        """Those of `charges` whose limits are violated."""
        return [charge for charge in charges if charge.limit.name in self.violated]


class Decision(NamedTuple):
    """The TAT to keep, microseconds from it to its window's end, and those to wait if refused."""

    tat_us: int
    slack_us: int
    wait_us: int


def decide(quantity: int, emission_us: int, stored_us: int, now_us: int, cost: int = 1) -> Decision:
    """What a charge makes of a stored TAT; `wait_us` is 0 when it is allowed.

    A TAT further away than the window comes from a clock that jumped: it counts as a used-up quota.
    """
    horizon_us = now_us + quantity * emission_us
    before_us = max(now_us, min(stored_us, horizon_us))
    after_us = max(now_us, before_us + min(cost, quantity) * emission_us)
    if cost > 0 and after_us > horizon_us:
        return Decision(before_us, horizon_us - before_us, after_us - horizon_us)
    return Decision(after_us, horizon_us - after_us, 0)


def quota(limit: Limit, slack_us: int, wait_us: int = 0) -> Quota:
    """The quota of a TAT that lies `slack_us` before its window's end; `wait_us` if refused."""
    emission_us = limit.emission_us
    remaining = slack_us // emission_us
    if not wait_us and remaining < limit.quantity:
        wait_us = emission_us - slack_us % emission_us
    return Quota(limit, remaining, -(-wait_us // SECOND_US))
