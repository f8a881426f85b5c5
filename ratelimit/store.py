"""The limits' Redis: clients that never wait long, and a machine that knows when not to ask.

A hung, refusing or slow Redis costs a request at most `TIMEOUT_S` once; then nobody asks until a
probe was answered. What holds meanwhile is the caller's affair: `StoreAway` tells it to choose.
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError
from redis.retry import Retry

from ratelimit.health import TROUBLES, Health, Mode
from ratelimit.pace import TIMEOUT_S, Patience, timed_connection
from ratelimit.scripts import Script, Word

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: More than a process has threads, so that none waits for a connection.
CONNECTIONS = 128
#: Probes of a store that was slow and did not err, and the time between them.
PATIENT_PROBES, BETWEEN_S = 8, 0.1
#: Error codes of a server that is there and cannot do its work.
UNFIT = {
    "OOM",
    "READONLY",
    "MISCONF",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "BUSY",
    "TRYAGAIN",
}


class StoreAway(Exception):
    """The store was not asked, or did not answer. If `asked`, it may have done what was asked."""

    def __init__(self, reason: str, *, asked: bool) -> None:
        super().__init__(reason)
        self.asked = asked


class Store:
    """One Redis, asked by threads (`run`, `call`) and event loops (`run_async`, `call_async`)."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        recovering_s: float = 60.0,
        probe_s: float = 1.0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.health = Health(clock, recovering_s)
        #: Called by the thread that found the store back, which is asked again by then.
        self.on_return: Callable[[], object] = lambda: None
        #: Processes alive in the fleet, as the slots' leases last told; they share local limits.
        self.processes = 1
        self._probe_s = probe_s
        self._timeout_s = timeout_s
        self._options: dict[str, Any] = {
            "socket_connect_timeout": timeout_s,
            "socket_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,
        }
        self._url = url
        self.sync = redis.Redis(connection_pool=self._pool())
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._prober: threading.Thread | None = None
        self._closed = False
        self._closing = threading.Event()

    @property
    def mode(self) -> Mode:
        return self.health.mode

    def run(self, script: Script, keys: Sequence[Word], args: Sequence[Word]) -> Any:
        """The script's reply; raises `StoreAway`."""
        return self.call(lambda client: script.run(client, keys, args))

    def call(self, act: Callable[[redis.Redis], T]) -> T:
        """What `act` gets from the client; raises `StoreAway`, at once if it is known away."""
        self._refuse_if_away()
        try:
            return act(self.sync)
        except (RedisError, OSError) as error:
            raise self._away(error) from error

    async def run_async(self, script: Script, keys: Sequence[Word], args: Sequence[Word]) -> Any:
        """The script's reply; raises `StoreAway`."""
        return await self.call_async(lambda client: script.run_async(client, keys, args))

    async def call_async(self, act: Callable[[redis.asyncio.Redis], Awaitable[T]]) -> T:
        """What `act` gets from this event loop's client; raises `StoreAway`."""
        self._refuse_if_away()
        client = (self._loops.get(asyncio.get_running_loop()) or await self._join_loop())[0]
        try:
            async with asyncio.timeout(None) as deadline:
                patience = Patience(deadline, self._timeout_s)
                try:
                    answer = await act(client)
                finally:
                    patience.end()
        except (RedisError, OSError) as error:  # OSError includes the deadline's TimeoutError
            raise self._away(error) from error
        self._answered(patience.slow)
        return answer

    def close(self) -> None:
        """Ends the prober and closes the threads' connections; each loop closes its own."""
        self._closed = True
        self._closing.set()
        self.health.changed.set()
        if self._prober:
            self._prober.join()
        self.sync.close()
        self.sync.connection_pool.disconnect()

    def _pool(self) -> ConnectionPool:
        return ConnectionPool.from_url(
            self._url,
            connection_class=timed_connection(self._url),
            max_connections=CONNECTIONS,
            on_answer=self._answered,
            timeout_s=self._timeout_s,
            **self._options,
        )

    async def _join_loop(self) -> tuple[redis.asyncio.Redis, AsyncGenerator[None, None]]:
        # `Patience` keeps the time: redis-py's own time-outs would count the loop's delays.
        patient = {**self._options, "socket_timeout": None, "socket_connect_timeout": None}
        client = redis.asyncio.Redis.from_url(self._url, max_connections=CONNECTIONS, **patient)
        lifetime = self._until_loop_ends(client)
        self._loops[asyncio.get_running_loop()] = (client, lifetime)
        await anext(lifetime)
        return client, lifetime

    async def _until_loop_ends(self, client: redis.asyncio.Redis) -> AsyncGenerator[None, None]:
        # A loop closes its asynchronous generators before it ends; nothing else tells us in time.
        try:
            yield
        finally:
            self._loops.pop(asyncio.get_running_loop(), None)
            await client.aclose()

    def _refuse_if_away(self) -> None:
        if not self.health.asks:
            raise StoreAway(f"the store is {self.health.mode}", asked=False)

    def _away(self, error: Exception) -> StoreAway:
        """The error to raise; raises `error` itself where the fault is the caller's."""
        if isinstance(error, MaxConnectionsError):
            return StoreAway(str(error), asked=False)
        if isinstance(error, ResponseError) and _code(error) not in UNFIT:
            raise error
        logger.info("store: %s: %s", type(error).__name__, error)
        self.health.failed()
        self._watch()
        return StoreAway(str(error) or "no answer in time", asked=True)

    def _answered(self, slow: bool) -> None:
        self.health.answered(slow)
        if slow:
            self._watch()

    def _watch(self) -> None:
        """Starts the prober if the store is in doubt and nobody probes it yet."""
        with self._lock:
            if self._prober is None and self.mode is not Mode.HEALTHY and not self._closed:
                self._prober = threading.Thread(target=self._probe, name="store-probe", daemon=True)
                self._prober.start()

    def _probe(self) -> None:
        health = self.health
        while not self._closed:
            health.changed.clear()
            if health.mode is Mode.SUSPECT:
                self._probed(self._deserves_trust())
            elif health.mode is Mode.LOCAL:
                health.changed.wait(self._probe_s * random.uniform(0.75, 1.25))  # noqa: S311
                if not self._closed and self._answers_well():
                    self._probed(good=True)
            elif health.mode is Mode.RECOVERING:
                health.changed.wait(self._probe_s)
                health.waited()
            elif self._retired():
                return

    def _probed(self, good: bool) -> None:
        if not self.health.probed(good):
            return
        try:
            self.on_return()
        except Exception:
            # Whatever it is, somebody has to go on probing.
            logger.exception("the store is back, and what was to be done then failed")

    def _retired(self) -> bool:
        with self._lock:
            if self.mode is not Mode.HEALTHY:
                return False
            self._prober = None
            return True

    def _deserves_trust(self) -> bool:
        """Whether one of a few probes is answered well.

        A store that was only slow is still asked meanwhile, and gets time: on a busy host it may
        have waited for the processor, as all probes within one such wait would find.
        """
        if not self.health.asks:
            return any(self._answers_well() for _ in range(TROUBLES))
        for _ in range(PATIENT_PROBES):
            if self._answers_well():
                return True
            self._closing.wait(BETWEEN_S)
        return False

    def _answers_well(self) -> bool:
        """Whether one small write is answered without being slow."""
        pool = self.sync.connection_pool
        connection: Any = None
        try:
            connection = pool.get_connection()
            return bool(connection.answers_well())
        except (RedisError, OSError):
            if connection:
                connection.disconnect()
            if self.mode is Mode.SUSPECT:
                self.health.failed()
            return False
        finally:
            if connection:
                pool.release(connection)


def _code(error: ResponseError) -> str:
    # redis-py cuts the codes it knows off the message.
    return error.status_code or str(error).partition(" ")[0]


_shared: Store | None = None
_making = threading.Lock()


def shared() -> Store:
    """This process's store at `settings.REDIS_URL`."""
    global _shared
    if _shared is None:
        with _making:
            _shared = _shared or Store(settings.REDIS_URL, timeout_s=TIMEOUT_S)
    return _shared


def _forget() -> None:
    global _shared, _making
    _shared, _making = None, threading.Lock()


# A forked child shares its parent's sockets, and has none of its threads.
os.register_at_fork(after_in_child=_forget)
