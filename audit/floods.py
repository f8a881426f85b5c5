"""Records that anybody may cause as often as they like: few of a flood, and none uncounted."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from audit import context as contexts
from audit import recording
from audit.context import RequestContext, bound
from audit.entry import JSON

EVERY_S = 10.0
#: Causes remembered at a time.
CAUSES = 10_000
#: Floods that one event closes at most: it must not pay for thousands at once.
CLOSED_AT_ONCE = 10


@dataclass(slots=True)
class Flood:
    """Events of one cause within `EVERY_S`."""

    action: str
    outcome: str
    actor: str
    tenant: str
    detail: Mapping[str, JSON]
    #: Of the first of them.
    context: RequestContext
    began: float
    #: How many came after the first.
    followed: int = 0

    def record(self, count: int) -> None:
        """Records this flood; the record stands for `count` events."""
        with bound(self.context):
            recording.record(
                self.action,
                self.outcome,
                actor=self.actor,
                tenant=self.tenant,
                detail={**self.detail, "count": count},
            )


class Floods:
    """Records the first event of each cause in ten seconds, and how many followed it.

    That number comes in a second record of the same decision id, when a later event, of whichever
    cause, shows that the ten seconds are over, and at the latest with `close`. Safe in threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: The oldest first.
        self._floods: OrderedDict[Hashable, Flood] = OrderedDict()

    def record(
        self,
        cause: Hashable,
        action: str,
        outcome: str,
        *,
        actor: str = "",
        tenant: str = "",
        detail: Mapping[str, JSON] | None = None,
        context: RequestContext | None = None,
    ) -> None:
        """Report an event as `audit.record` does, or count it; `detail` is that of the first.

        `context` is the request's, where it is not the one that is being served.
        """
        now = self._clock()
        with self._lock:
            ended = self._ended(now)
            flood = self._floods.get(cause)
            if flood is not None and now - flood.began >= EVERY_S:
                ended.append(self._floods.pop(cause))
                flood = None
            begins = flood is None
            if flood is None:
                context = context or contexts.current()
                flood = Flood(action, outcome, actor, tenant, detail or {}, context, now)
                self._floods[cause] = flood
            else:
                flood.followed += 1
            if len(self._floods) > CAUSES:
                ended.append(self._floods.popitem(last=False)[1])
        _close(ended)
        if begins:
            flood.record(1)

    def close(self) -> None:
        """Record what is still counted: the process stops."""
        with self._lock:
            ended = list(self._floods.values())
            self._floods.clear()
        _close(ended)

    def _ended(self, now: float) -> list[Flood]:
        ended: list[Flood] = []
        while self._floods and len(ended) < CLOSED_AT_ONCE:
            oldest = next(iter(self._floods))
            if now - self._floods[oldest].began < EVERY_S:
                break
            ended.append(self._floods.pop(oldest))
        return ended


def _close(ended: list[Flood]) -> None:
    for flood in ended:
        if flood.followed:
            flood.record(flood.followed)


_shared = Floods()


def shared() -> Floods:
    """This process's floods, which its gate closes when it stops."""
    return _shared


def _forget() -> None:
    global _shared
    _shared = Floods()


os.register_at_fork(after_in_child=_forget)
