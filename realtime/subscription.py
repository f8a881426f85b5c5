"""One subscription of this process to all changes of pairings, renewed for ever."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from realtime.publisher import CHANNEL

logger = logging.getLogger(__name__)

#: Redis is asked so often whether it is still there.
PING_S = 1.0
#: Without a word for so long after it was asked it is away.
PATIENCE_S = 1.0
AGAIN_S = (0.1, 0.5)


class Subscription:
    """Calls `on_change` with what is heard, and `on_gap` whenever something may not have been.

    That is after every subscription, the first one too: what was published before is unknown.
    `on_alive` is called with a moment of the monotonic clock for each answer of Redis, asked every
    `ping_s`: what was published before that moment has been heard.
    """

    def __init__(
        self,
        url: str,
        on_change: Callable[[UUID, int], object],
        on_gap: Callable[[], object],
        *,
        on_alive: Callable[[float], object] = lambda at: None,
        ping_s: float = PING_S,
    ) -> None:
        self.connected = False
        self._url = url
        self._on_change = on_change
        self._on_gap = on_gap
        self._on_alive = on_alive
        self._ping_s = ping_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen in a task of the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._listen(), name="subscription")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:  # OSError includes TimeoutError
                if self.connected:
                    logger.warning("changes are not heard: %s", error or type(error).__name__)
                self.connected = False
            await asyncio.sleep(random.uniform(*AGAIN_S))  # noqa: S311 - jitter, no secret

    async def _hear(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url,
            socket_connect_timeout=PING_S,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        async with client, client.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            heard_at = due = time.monotonic()
            asked_at: float | None = None
            while True:
                message = await subscription.get_message(timeout=self._ping_s)
                now = time.monotonic()
                if message is not None:
                    heard_at = now
                    self._take(message)
                    if message["type"] == "pong" and asked_at is not None:
                        self._on_alive(asked_at)
                        due, asked_at = asked_at + self._ping_s, None
                elif asked_at is not None and now - max(heard_at, asked_at) >= PATIENCE_S:
                    raise TimeoutError("Redis does not answer")
                if asked_at is None and now >= due:
                    asked_at = now
                    await subscription.ping()

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe":
            if not self.connected:
                logger.info("changes are heard")
            self.connected = True
            self._on_gap()
        elif message["type"] == "message" and isinstance(message["data"], bytes):
            for pairing, version in changes(message["data"]):
                self._on_change(pairing, version)


def changes(data: bytes) -> Iterator[tuple[UUID, int]]:
    """The changes that a published message tells; what is none is passed over."""
    for line in data.decode(errors="replace").splitlines():
        pairing, _, version = line.partition(" ")
        try:
            yield UUID(pairing), int(version)
        except ValueError:
            logger.warning("a published change cannot be read")
