"""Tells the gateways of changed pairings, after the commit and beside the request.

What is published is "id version", never credentials. A message may be lost, with its process or
with Redis: the gateways look at every waiting pairing again from time to time.
"""

import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

CHANNEL = "pairings:changed"
#: What was committed within this time travels together.
GATHER_S = 0.002
#: Where changes come all the time, so many of them do that a message leaves once in this time.
EVERY_S = 0.01
BATCH = 200
TIMEOUT_S = 1.0
#: For so long a batch is tried again; by then the gateways have looked by themselves.
PATIENCE_S = 15.0
AGAIN_S = 0.2


class Publisher:
    """One thread of this process, started by the first change, with a client of Redis of its own.

    The limits' store is not asked through: it is away after 50 ms, and nobody waits for this.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url
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
        client = redis.Redis.from_url(
            self._url or settings.REDIS_URL,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        last_at = -EVERY_S
        while True:
            changes = [self._changes.get()]
            self._wait(max(GATHER_S, last_at + EVERY_S - time.monotonic()))
            while len(changes) < BATCH and not self._changes.empty():
                changes.append(self._changes.get())
            last_at = time.monotonic()
            self._tell(client, changes)

    def _tell(self, client: redis.Redis, changes: list[str]) -> None:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                client.publish(CHANNEL, "\n".join(changes))
            except (redis.RedisError, OSError) as error:
                if time.monotonic() > until:
                    logger.warning("%d changes could not be published: %s", len(changes), error)
                    return
                self._wait(AGAIN_S)
            else:
                return


_shared = Publisher()


def on_changed(sender: Any, *, id: UUID, version: int, **kwargs: Any) -> None:
    """Receives `pairing.signals.changed`."""
    _shared.publish(id, version)


def _forget() -> None:
    global _shared
    _shared = Publisher()


# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_forget)
