"""Refusals in the trail: enough of them to explain each, and few enough in a flood."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import audit
from audit.context import RequestContext, bound
from audit.entry import JSON

EVERY_S = 10.0
#: Keys remembered at a time.
KEYS = 10_000


class RefusalLog:
    """Records one refusal of each (key, limit) in ten seconds, with the number it stands for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: When the last one was recorded, and how many were not since.
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def record(
        self, policy: str, limit: str, key: str, tenant: str, context: RequestContext
    ) -> None:
        """`context.decision_id` is what the client was told."""
        count = self._due((key, limit))
        if not count:
            return
        detail: dict[str, JSON] = {"policy": policy, "limit": limit, "key": key, "count": count}
        with bound(context):
            audit.record("gate.refused", "refused", tenant=tenant, detail=detail)

    def _due(self, refused: tuple[str, str]) -> int:
        """How many refusals the next record stands for; 0 while it is too early for one."""
        now = self._clock()
        with self._lock:
            recorded_at, unrecorded = self._seen.get(refused, (float("-inf"), 0))
            if now - recorded_at < EVERY_S:
                self._seen[refused] = (recorded_at, unrecorded + 1)
                return 0
            self._seen[refused] = (now, 0)
            self._seen.move_to_end(refused)
            if len(self._seen) > KEYS:
                self._seen.popitem(last=False)
        return unrecorded + 1
