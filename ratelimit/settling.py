"""What was charged without Redis is charged there as soon as it is back.

Then Redis knows all again, and nobody has to be held to this process's share for a window: whoever
asked twice, both times of one process, would be refused for minutes because Redis was away for one
second. A Redis that has lost its memory meanwhile does not know what it decided before either: only
the processes' shares do, and they go on to bind.
"""

import logging
import secrets
from collections.abc import Callable, Sequence

import redis

from ratelimit.gcra import Charge
from ratelimit.health import Mode
from ratelimit.local import LocalLimits
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)

#: Whoever finds none makes one: as long as it is the same, Redis has forgotten nothing.
MARK_KEY = "rl:{-}:mark"
#: After a return the other processes have found it as well, and told what they had charged.
OTHERS_S = 3.0
#: Charges in one call, as many as requests in one call of the limiter.
BATCH = 100


class Settling:
    """Of one process. `charge` makes these charges in Redis, each for itself; `StoreAway`."""

    def __init__(
        self,
        store: Store,
        local: LocalLimits,
        charge: Callable[[Sequence[Charge]], object],
    ) -> None:
        self._store = store
        self._local = local
        self._charge = charge
        #: What Redis was known by when it was asked last.
        self._mark: object = None
        #: Of the return that was settled: when the store came back, by its clock.
        self._settled_at: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether Redis knows all that was charged before it came back last, and by others too."""
        health = self._store.health
        return self._settled_at == health.recovered_at and health.recovered_s >= OTHERS_S

    def look(self) -> None:
        """Remember what Redis is known by. Never fails: while it is away nothing is learned."""
        if self._store.mode is not Mode.HEALTHY:
            return
        try:
            self._mark = self._store.call(self._read)
        except StoreAway:
            return

    def settle(self) -> None:
        """Redis is back: charge there what is owed, if it remembers the rest."""
        recovered_at, owed = self._store.health.recovered_at, self._local.owed()
        try:
            if self._mark is None or self._store.call(self._read) != self._mark:
                logger.warning("limits: Redis is not known to remember: shares bind for a window")
                return
            while owed:
                self._charge(owed[:BATCH])
                del owed[:BATCH]
        except StoreAway:
            self._local.owe(owed)
            return
        self._settled_at = recovered_at

    def _read(self, client: redis.Redis) -> object:
        found = client.get(MARK_KEY)
        if found is None:
            client.set(MARK_KEY, secrets.token_hex(8), nx=True)
            found = client.get(MARK_KEY)
        return found
