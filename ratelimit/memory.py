"""Keys known to be refused: asking for them again before their time would change nothing."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ratelimit.gcra import Charge, Limit, Quota, Verdict

#: Refused keys kept in mind; 50,000 take some 15 MB.
REFUSALS = 50_000


class Refusal(NamedTuple):
    until: float
    limit: Limit
    cost: int


class Refusals:
    """Remembers until when each key is refused; the oldest refusal is forgotten first."""

    def __init__(self, size: int = REFUSALS, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._refusals: OrderedDict[str, Refusal] = OrderedDict()
        #: How often a refusal was taken back before its time.
        self.changes = 0

    def recall(self, charges: Sequence[Charge]) -> Verdict | None:
        """The refusal these charges are bound to get, or None if they must be decided."""
        if not self._refusals:
            return None
        now = self._clock()
        known = [refusal for charge in charges if (refusal := self._bound(charge, now))]
        if not known:
            return None
        quotas = tuple(Quota(limit, 0, -int((now - until) // 1)) for until, limit, _ in known)
        violated = tuple(limit.name for _, limit, _ in known)
        return Verdict(False, quotas, violated, max(refusal.until for refusal in known) - now)

    def remember(self, charge: Charge, wait_s: float) -> None:
        """Keeps a refusal in mind, except by a limit that may be refunded any moment."""
        if charge.limit.refundable:
            return
        with self._lock:
            self._refusals[charge.key] = Refusal(self._clock() + wait_s, charge.limit, charge.cost)
            self._refusals.move_to_end(charge.key)
            if len(self._refusals) > self._size:
                self._refusals.popitem(last=False)

    def forget(self, charges: Sequence[Charge]) -> None:
        """Drops what is known of these keys: something was given back."""
        with self._lock:
            for charge in charges:
                if self._refusals.pop(charge.key, None):
                    self.changes += 1

    def clear(self) -> None:
        """Drops everything: the policies have changed."""
        with self._lock:
            self._refusals.clear()
            self.changes += 1

    def _bound(self, charge: Charge, now: float) -> Refusal | None:
        refusal = self._refusals.get(charge.key)
        if refusal is None or charge.cost < refusal.cost:
            return None
        if refusal.until <= now:
            with self._lock:
                self._refusals.pop(charge.key, None)
            return None
        return refusal
