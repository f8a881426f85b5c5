"""Rows that are read often: from this process, else from Redis, else from the database.

A row changes in its own transaction and is forgotten on commit: at once in this process, within a
second in Redis and in the other processes. So a cache serves reads that may be a second late,
and reads that a conditional UPDATE verifies; it never decides anything by itself.
"""

import json
import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import zip_longest
from typing import Any, Generic, TypeVar, cast

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from ratelimit.follower import Follower
from ratelimit.lru import Lru
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)
V = TypeVar("V")

#: Rows of a kind that a process keeps.
SIZE = 1_000
#: What a process that starts reads at most, and for how long.
WARMED, WARM_S = 500, 0.8
#: Redis is waited for so long; then rows come from the database.
TIMEOUT_S = 0.05
PROCESS, REDIS, DATABASE = LEVELS = ("process", "redis", "database")
HIT, MISS, AWAY = "hit", "miss", "away"

#: `("cache", kind, level, outcome)` with its number.
Key = tuple[str | int, ...]


def _store() -> Store:
    # A store of its own, as the dashboard's: what it makes of Redis is not what the limits make.
    return Store(str(settings.CACHES["default"]["LOCATION"]), timeout_s=TIMEOUT_S)


_follower = Follower(_store)


class Cache(Generic[V]):
    """The rows of one kind. Values are what JSON can say, are shared, and must not be changed.

    `load` reads a row from the database, None if there is none, which is not kept. `key_of` gives
    the key under which a value will be forgotten: found by another, it is not kept either.
    `ttl_s` bounds how long a change is missed that nobody was told of, half at each level.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[str], V | None],
        *,
        ttl_s: float,
        key_of: Callable[[V], str] | None = None,
        size: int = SIZE,
        follower: Follower = _follower,
    ) -> None:
        self.name = name
        self._load = load
        self._ttl_s = ttl_s
        self._key_of = key_of
        self._size = size
        self._follower = follower
        self.reset()
        follower.caches[name] = self

    def reset(self) -> None:
        """Keep nothing and count from nothing."""
        self._lock = threading.Lock()
        self._memory: Lru[V] = Lru(self._size, self._follower.clock)
        self._flights: dict[str, Future[V | None]] = {}
        self._counts: dict[Key, int] = {}

    def row(self, key: str) -> str:
        """The row's name among all kinds, for `forget`."""
        return f"{self.name}:{key}"

    def get(self, key: str, *, counted: bool = True) -> V | None:
        """The row, at most a second late. Several threads that miss it ask once.

        A transaction reads the database: it may see what nobody else does yet.
        """
        if connection.in_atomic_block:
            return self._load(key)
        self._follower.follow()
        began_at = self._follower.clock()
        with self._lock:
            entry = self._memory.find(key)
            if entry is not None and self._follower.vouches(entry.read_at):
                self._count(PROCESS, HIT, counted)
                return entry.value
            flight = self._flights.get(key)
            self._count(PROCESS, HIT if flight else MISS, counted)
            if flight is None:
                own = self._flights[key] = Future()
        if flight is not None:
            return flight.result()
        return self._lead(key, own, began_at, counted)

    def drop(self, key: str) -> None:
        """Keep neither the row nor what is being read of it right now."""
        with self._lock:
            self._memory.drop(key)
            self._flights.pop(key, None)

    def clear(self) -> None:
        """`drop` of every row."""
        with self._lock:
            self._memory.clear()
            self._flights.clear()

    def latest(self, count: int) -> list[str]:
        """The keys used last in this process."""
        with self._lock:
            return self._memory.latest(count)

    def take(self) -> dict[Key, int]:
        """What was counted since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def __len__(self) -> int:
        return len(self._memory)

    def _lead(self, key: str, flight: Future[V | None], began_at: float, counted: bool) -> V | None:
        try:
            value = self._read(key, counted)
        except BaseException as error:
            with self._lock:
                self._land(key, flight)
            flight.set_exception(error)
            raise
        with self._lock:
            if self._land(key, flight) and value is not None and self._is_kept(key, value):
                self._memory.keep(key, value, began_at, self._life_s())
        flight.set_result(value)
        return value

    def _land(self, key: str, flight: Future[V | None]) -> bool:
        """Whether the row was not forgotten while it was being read."""
        if self._flights.get(key) is not flight:
            return False
        del self._flights[key]
        return True

    def _read(self, key: str, counted: bool) -> V | None:
        rows, row, token = self._follower.rows, self.row(key), secrets.token_hex(8)
        leased, outcome = False, AWAY
        try:
            if not self._follower.owes(row):
                found = rows.read(row, token)
                leased, outcome = found.leased, HIT if found.json is not None else MISS
        except StoreAway:
            pass
        with self._lock:
            self._count(REDIS, outcome, counted)
        if outcome == HIT:
            return cast(V, json.loads(cast(str, found.json)))
        value = self._load(key)
        with self._lock:
            self._count(DATABASE, MISS if value is None else HIT, counted)
        if leased and value is not None and self._is_kept(key, value):
            self._fill(row, token, value)
        return value

    def _fill(self, row: str, token: str, value: V) -> None:
        try:
            self._follower.rows.fill(row, token, json.dumps(value), self._life_s())
        except StoreAway:
            return

    def _is_kept(self, key: str, value: V) -> bool:
        return self._key_of is None or self._key_of(value) == key

    def _life_s(self) -> float:
        """Half of the time each level has; less by chance, lest rows end together."""
        return self._ttl_s / 2 * random.uniform(0.8, 1)  # noqa: S311 - jitter, no secret

    def _count(self, level: str, outcome: str, counted: bool) -> None:
        if counted:
            key = ("cache", self.name, level, outcome)
            self._counts[key] = self._counts.get(key, 0) + 1


def forget(rows: Iterable[str]) -> None:
    """Have these rows (`Cache.row`) read anew: here at once, by every process within a second.

    Call it after the commit: what was read before might be kept anew otherwise.
    """
    _follower.forget(rows)


def forget_on_commit(rows: Iterable[str]) -> None:
    """`forget`, once this transaction has committed."""
    gone = list(rows)
    if gone:
        transaction.on_commit(lambda: forget(gone))


def settle() -> None:
    """Tell Redis now what it is to forget; raises `StoreAway`."""
    _follower.pay()


def follow() -> None:
    """Hear what the other processes have forgotten, if it is time."""
    _follower.follow()


def take(follower: Follower = _follower) -> dict[Key, int]:
    """What all caches of this process have counted since the last call."""
    counts: dict[Key, int] = {}
    for cache in _caches(follower):
        counts.update(cache.take())
    return counts


def warm(seconds: float = WARM_S, follower: Follower = _follower) -> int:
    """Read the rows that were used last in the fleet, for `seconds`; how many were read.

    Without Redis nobody knows which; without the database there is nothing to read. Neither is an
    error.
    """
    until, read = time.monotonic() + seconds, 0
    try:
        for cache, key in _used(follower):
            if time.monotonic() >= until:
                break
            cache.get(key, counted=False)
            read += 1
    except (StoreAway, DatabaseError) as error:
        logger.info("rows are not warmed: %s", error)
    return read


def _used(follower: Follower) -> Iterator[tuple[Cache[Any], str]]:
    """The rows of all kinds in turn, those that were used last first."""
    used = [
        [(cache, key) for key in follower.rows.used(cache.name, WARMED)]
        for cache in _caches(follower)
    ]
    return (pair for pairs in zip_longest(*used) for pair in pairs if pair is not None)


def reset() -> None:
    """Begin anew with nothing known and nothing counted: for tests, whose rows come unannounced."""
    _follower.reset()


def _caches(follower: Follower) -> list[Cache[Any]]:
    return [cache for cache in follower.caches.values() if isinstance(cache, Cache)]


os.register_at_fork(after_in_child=_follower.begin_anew)
