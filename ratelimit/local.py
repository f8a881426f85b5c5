"""Limits in this process's memory: what holds while Redis is away."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ratelimit.gcra import SECOND_US, Charge, Decision, Quota, Verdict, decide, quota

#: Accounts remembered; 100,000 take some 20 MB.
ACCOUNTS = 100_000
#: When to come back to a limit that is closed until Redis returns: it is probed once a second.
CLOSED_S = 2
#: Nobody is told to stay away for longer by a share: Redis knows better, and may be back by then.
LONGEST_US = 10 * SECOND_US


class LocalLimits:
    """This process's share of every limit: the rate divided by the processes alive.

    Charged on every call, also while Redis decides, so that it is warm when Redis leaves. A share
    of less than one unit bursts to one and regains it slower, which keeps the fleet at the rate.
    When all accounts are taken, the one unused for longest is forgotten.
    """

    def __init__(
        self, accounts: int = ACCOUNTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._lock = threading.Lock()
        self._tats: OrderedDict[str, int] = OrderedDict()
        #: What Redis does not know of: charges, one for each account, and when each was made last.
        self._owed: OrderedDict[str, tuple[Charge, int]] = OrderedDict()

    def warm(self, charges: Sequence[Charge], processes: int) -> None:
        """Charges without asking: Redis has allowed it."""
        now_us = int(self._clock() * SECOND_US)
        tats = self._tats
        with self._lock:
            for limit, key, cost in charges:
                emission_us = limit.emission_us * processes
                horizon_us = now_us + emission_us * (limit.quantity // processes or 1)
                tat_us = max(now_us, tats.get(key, 0)) + cost * emission_us
                tats[key] = min(tat_us, horizon_us)
                tats.move_to_end(key)
            while len(tats) > self._accounts:
                tats.popitem(last=False)

    def charge(self, charges: Sequence[Charge], processes: int) -> Verdict:
        """Decides in the place of Redis: each limit's `store_away` says how."""
        closed = tuple(c.limit.name for c in charges if c.limit.store_away == "closed")
        if closed:
            quotas = tuple(Quota(charge.limit, 0, CLOSED_S) for charge in charges)
            return Verdict(False, quotas, closed, CLOSED_S, local=True, unavailable=True)
        with self._lock:
            looks = [
                look if charge.limit.store_away == "local" else look._replace(wait_us=0)
                for charge, look in zip(charges, self._looks(charges, processes), strict=True)
            ]
            verdict = self._verdict(charges, processes, looks)
            if verdict.allowed:
                for charge, look in zip(charges, looks, strict=True):
                    self._tats[charge.key] = look.tat_us
                    self._tats.move_to_end(charge.key)
                self._owe(charges)
                for accounts in (self._tats, self._owed):
                    while len(accounts) > self._accounts:
                        accounts.popitem(last=False)
        return verdict

    def owed(self) -> list[Charge]:
        """Charges that were decided here and that still count, for Redis to make. Each once."""
        with self._lock:
            owed, self._owed = self._owed, OrderedDict()
        now_us = int(self._clock() * SECOND_US)
        return [
            charge
            for charge, at_us in owed.values()
            if charge.cost > 0 and now_us - at_us < charge.limit.window_s * SECOND_US
        ]

    def check(self, charges: Sequence[Charge], processes: int) -> Verdict:
        """The verdict on these charges by the local share; only looks."""
        with self._lock:
            return self._verdict(charges, processes, self._looks(charges, processes))

    def _owe(self, charges: Sequence[Charge]) -> None:
        now_us = int(self._clock() * SECOND_US)
        for charge in charges:
            before, _ = self._owed.pop(charge.key, (None, 0))
            cost = charge.cost + (before.cost if before else 0)
            self._owed[charge.key] = (charge._replace(cost=cost), now_us)

    def owe(self, charges: Sequence[Charge]) -> None:
        """Redis could not be told of them after all."""
        with self._lock:
            self._owe(charges)

    def _looks(self, charges: Sequence[Charge], processes: int) -> list[Decision]:
        now_us = int(self._clock() * SECOND_US)
        return [
            decide(
                limit.quantity // processes or 1,
                limit.emission_us * processes,
                self._tats.get(key, 0),
                now_us,
                cost,
            )
            for limit, key, cost in charges
        ]

    def _verdict(self, charges: Sequence[Charge], processes: int, looks: list[Decision]) -> Verdict:
        violated = tuple(
            [c.limit.name for c, look in zip(charges, looks, strict=True) if look.wait_us]
        )
        if violated:  # then nothing is taken from the others
            free = self._looks([charge._replace(cost=0) for charge in charges], processes)
            looks = [look if look.wait_us else rest for look, rest in zip(looks, free, strict=True)]
        quotas = [
            quota(charge.limit, look.slack_us // processes, min(look.wait_us, LONGEST_US))
            for charge, look in zip(charges, looks, strict=True)
        ]
        wait_us = min(LONGEST_US, max([look.wait_us for look in looks], default=0))
        return Verdict(not violated, tuple(quotas), violated, wait_us / SECOND_US, local=True)
