"""How often background tasks ran and yielded, in the totals of the fleet."""

import logging
import os
from functools import cache

from redis.exceptions import RedisError

from ratelimit.store import Store, StoreAway
from stabilizer.background.budget import Refusal
from stabilizer.gate.observer import Counts, Key
from stabilizer.ops import shelf, totals

logger = logging.getLogger(__name__)

RUNS, YIELDS = "background_runs", "background_yields"


class Tally:
    """One process's counts, told at once: a worker has no loop that would report them.

    What is counted while Redis is away is told with the next. A count whose answer was lost is not
    repeated: it may be missing, and is never there twice.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._untold: Counts = {}

    def ran(self, task: str) -> None:
        """A task begins."""
        self._add((RUNS, task))

    def yielded(self, task: str, refusal: Refusal) -> None:
        """A task was put back."""
        self._add((YIELDS, task, refusal))

    def _add(self, key: Key) -> None:
        counts = totals.added(self._untold, {key: 1})
        try:
            totals.add_now(self._store, counts)
        except StoreAway as away:
            self._untold = {} if away.asked else counts
            return
        except RedisError:
            # A task must not be lost for a count.
            logger.exception("a count is missing")
        self._untold = {}


@cache
def shared() -> Tally:
    """This process's tally, by the dashboard's way to Redis."""
    return Tally(shelf.shared())


os.register_at_fork(after_in_child=shared.cache_clear)
