"""Records that anybody may cause as often as they like: few of a flood, and none uncounted."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from audit import context as contexts
from audit import recording, trace
from audit.context import RequestContext, bound
from audit.entry import JSON

EVERY_S = 10.0
#: Causes remembered at a time.
CAUSES = 10_000
#: Floods that one event closes at most: it must not pay for thousands at once.
CLOSED_AT_ONCE = 10


class Telling(NamedTuple):
    """What is recorded of the first event of a flood; the others are only counted."""

    action: str
    outcome: str
    actor: str
    tenant: str
    detail: Mapping[str, JSON]
    context: RequestContext
    subject: str = ""

    def record(self, count: int) -> None:
        """Records a flood; the record stands for `count` events."""
        with bound(self.context):
            recording.record(
                self.action,
                self.outcome,
                subject=self.subject,
                actor=self.actor,
                tenant=self.tenant,
                detail={**self.detail, "count": count},
            )


class Flood:
    """Events of one cause within `EVERY_S`."""

    __slots__ = ("began", "followed", "mark", "telling")

    def __init__(self, telling: Telling, mark: str, began: float) -> None:
        self.telling = telling
        self.mark = mark
        self.began = began
        #: How many came after the first.
        self.followed = 0


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
        context = context or contexts.current()
        telling = Telling(action, outcome, actor, tenant, detail or {}, context)
        self.count(cause, lambda mark: telling)

    def count(self, cause: Hashable, tell: Callable[[str], Telling]) -> tuple[str, int]:
        """Count an event: the mark of its flood, and its number in it from 1 on.

        The first is told by `tell`, which is given the mark (`audit.trace`).
        """
        now = self._clock()
        with self._lock:
            ended = self._ended(now)
            flood = self._floods.get(cause)
            if flood is not None and now - flood.began >= EVERY_S:
                ended.append(self._floods.pop(cause))
                flood = None
            if flood is None:
                mark = trace.new_mark()
                flood = self._floods[cause] = Flood(tell(mark), mark, now)
                number = 1
            else:
                flood.followed += 1
                number = flood.followed + 1
            if len(self._floods) > CAUSES:
                ended.append(self._floods.popitem(last=False)[1])
        if ended:
            _close(ended)
        if number == 1:
            flood.telling.record(1)
        return flood.mark, number

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
            flood.telling.record(flood.followed)


_shared = Floods()


def shared() -> Floods:
    """This process's floods, which its gate closes when it stops."""
    return _shared


def _forget() -> None:
    global _shared
    _shared = Floods()


os.register_at_fork(after_in_child=_forget)
