"""Tells the gateways of changed pairings, after the commit and beside the request.

What is published is "id version", never credentials. A message may be lost, with its process or
with Redis: the gateways look at every waiting pairing again from time to time.
"""

import logging
import os
import threading
from queue import SimpleQueue
from typing import Any
from uuid import UUID

import redis

from ratelimit import store
from ratelimit.store import StoreAway

logger = logging.getLogger(__name__)

CHANNEL = "pairings:changed"
#: What was committed within this time travels together.
GATHER_S = 0.002
BATCH = 200


class Publisher:
    """One thread of this process, started by the first change."""

    def __init__(self) -> None:
        self._changes: SimpleQueue[str] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wait = threading.Event().wait

    def publish(self, pairing: UUID, version: int) -> None:
        """Have a change told. Costs the caller microseconds, whatever Redis does."""
        self._changes.put(f"{pairing.hex} {version}")
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            changes = [self._changes.get()]
            self._wait(GATHER_S)
            while len(changes) < BATCH and not self._changes.empty():
                changes.append(self._changes.get())
            _tell(changes)


def _tell(changes: list[str]) -> None:
    try:
        store.shared().call(lambda client: client.publish(CHANNEL, "\n".join(changes)))
    except StoreAway:
        logger.info("%d changes could not be published", len(changes))
    except redis.RedisError:
        logger.exception("changes cannot be published")


_shared = Publisher()


def on_changed(sender: Any, *, id: UUID, version: int, **kwargs: Any) -> None:
    """Receives `pairing.signals.changed`."""
    _shared.publish(id, version)


def _forget() -> None:
    global _shared
    _shared = Publisher()


# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_forget)
