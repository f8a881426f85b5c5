"""Records that anybody may cause as often as he likes: few of them, each with its number."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

EVERY_S = 10.0
#: Causes remembered at a time.
CAUSES = 10_000


class Thinning:
    """Lets one record of each cause through in ten seconds, which stands for those held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: When the last one was recorded, and how many were not since.
        self._seen: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def due(self, cause: Hashable) -> int:
        """How many events the record to write now stands for; 0 while it is too early for one."""
        now = self._clock()
        with self._lock:
            recorded_at, unrecorded = self._seen.get(cause, (float("-inf"), 0))
            if now - recorded_at < EVERY_S:
                self._seen[cause] = (recorded_at, unrecorded + 1)
                return 0
            self._seen[cause] = (now, 0)
            self._seen.move_to_end(cause)
            if len(self._seen) > CAUSES:
                self._seen.popitem(last=False)
        return unrecorded + 1
