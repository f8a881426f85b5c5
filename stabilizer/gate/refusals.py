"""Refusals in the trail: enough of them to explain each, and few enough in a flood."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import audit
from audit.context import RequestContext, bound
from audit.entry import JSON

EVERY_S = 10.0
#: Keys remembered at a time.
KEYS = 10_000
#: Floods that one refusal closes at most: it must not pay for thousands at once.
CLOSED_AT_ONCE = 10


@dataclass(slots=True)
class Flood:
    """Refusals of one key by one limit within `EVERY_S`."""

    policy: str
    limit: str
    key: str
    tenant: str
    #: Of the first of them.
    context: RequestContext
    began: float
    #: How many the next record of it stands for.
    count: int = 1

    def record(self) -> None:
        detail: dict[str, JSON] = {
            "policy": self.policy,
            "limit": self.limit,
            "key": self.key,
            "count": self.count,
        }
        with bound(self.context):
            audit.record("gate.refused", "refused", tenant=self.tenant, detail=detail)


class RefusalLog:
    """Records the first refusal of each (key, limit) in ten seconds, and how many followed it.

    That number comes in a second record of the same decision id, when a later refusal, of whomever,
    shows that the ten seconds are over, and at the latest with `close`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: The oldest first.
        self._floods: OrderedDict[tuple[str, str], Flood] = OrderedDict()

    def record(
        self, policy: str, limit: str, key: str, tenant: str, context: RequestContext
    ) -> None:
        """`context.decision_id` is what the client was told."""
        refused = (key, limit)
        now = self._clock()
        with self._lock:
            due = self._ended(now)
            flood = self._floods.get(refused)
            if flood is not None and now - flood.began >= EVERY_S:
                due.append(self._floods.pop(refused))
                flood = None
            if flood is not None:
                flood.count += 1
            else:
                flood = Flood(policy, limit, key, tenant, context, now)
                # Written as it is now; from here on `count` is that of the closing record.
                due.append(replace(flood))
                flood.count = 0
                self._floods[refused] = flood
            if len(self._floods) > KEYS:
                due.append(self._floods.popitem(last=False)[1])
        _write(due)

    def close(self) -> None:
        """Record what is still counted: the process stops."""
        with self._lock:
            due = list(self._floods.values())
            self._floods.clear()
        _write(due)

    def _ended(self, now: float) -> list[Flood]:
        ended: list[Flood] = []
        while self._floods and len(ended) < CLOSED_AT_ONCE:
            oldest = next(iter(self._floods))
            if now - self._floods[oldest].began < EVERY_S:
                break
            ended.append(self._floods.pop(oldest))
        return ended


def _write(due: list[Flood]) -> None:
    for flood in due:
        if flood.count:
            flood.record()
