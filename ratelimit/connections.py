"""Which long connections may stay open: leased from Redis, given back by expiry whatever happens.

A connection is counted by its network until it says whose it is, then by its client; always by its
process and the fleet.
"""

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from ratelimit.leases import process_name
from ratelimit.scripts import Script, Word, text
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)

CONNECTIONS = Script(Path(__file__).parent / "lua" / "connections.lua")
KEYS = ("rl:{-}:connections:leases", "rl:{-}:connections:held")
NOWHERE = ""
LEASE_S = 5.0
#: Of a lease: two refreshes may be missed.
REFRESHES = 3
#: Changes in one call; a longer one would look like a slow store.
BATCH = 100
#: How long changes wait for each other.
GATHER_S = 0.005
UNLIMITED = 0


class Full(Enum):
    """What has no room for the connection; the values are the script's."""

    SET = 1
    PROCESS = 2
    FLEET = 3


@dataclass(frozen=True, slots=True)
class Caps:
    """The most connections, of each kind, at once."""

    fleet: int = 10_000
    process: int = 10_000
    client: int = 5
    #: Connections of one network that have not said yet whose they are.
    network: int = 50


async def fleet(store: Store) -> dict[str, int]:
    """The connections that each process holds, by its name; raises `StoreAway`.

    A process that ended without a word is in it until another refreshes after its lease.
    """
    held = await store.call_async(lambda client: client.hgetall(KEYS[1]))
    return {text(process): int(count) for process, count in held.items()}


class Connection:
    """One connection that holds a place, in the set that counts it now."""

    __slots__ = ("counted_in", "is_open", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counted_in = NOWHERE
        self.is_open = False


class _Change(NamedTuple):
    connection: Connection
    joins: str
    leaves: str
    most: int
    is_new: bool
    answer: "asyncio.Future[Full | None] | None"


class Connections:
    """The connections of this process.

    `open` and `greet` ask Redis, all that come together in one call; `close` never waits. Without
    Redis the same caps hold for this process alone, beside what the others last held.
    `set_lives_s` is how long the longest connection lasts.
    """

    def __init__(
        self, store: Store, caps: Caps, *, set_lives_s: int = 7200, lease_s: float = LEASE_S
    ) -> None:
        self.caps = caps
        self.process = process_name()
        #: Open connections of the other processes, as last told.
        self.others = 0
        self._store = store
        self._set_lives_s = set_lives_s
        self._lease_s = lease_s
        self._numbers = itertools.count(1)
        self._open: set[Connection] = set()
        #: How many of ours each set has, for when Redis cannot be asked.
        self._counts: Counter[str] = Counter()
        self._changes: deque[_Change] = deque()
        self._changed = asyncio.Event()
        #: Redis may not have been told what changed.
        self._is_unsure = False
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Open connections of this process."""
        return len(self._open)

    def start(self) -> None:
        """Keep the lease in a task of the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._hold(), name="connection-lease")

    async def stop(self) -> None:
        """End the task. What is still open lapses with the lease."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        for change in self._changes:
            if change.answer is not None:
                change.answer.cancel()

    async def open(self, network: str, most: int | None = None) -> Connection | Full:
        """A place for a connection from `network` that has not said yet whose it is."""
        connection = Connection(next(self._numbers))
        limit = self.caps.network if most is None else most
        full = await self._ask(connection, f"rl:{{-}}:connections:network:{network}", limit)
        return full or connection

    async def open_for(self, client: str) -> Connection | Full:
        """A place for a connection that is known to be this client's."""
        connection = Connection(next(self._numbers))
        return await self.greet(connection, client) or connection

    async def greet(self, connection: Connection, client: str) -> Full | None:
        """Count a connection by its client from now on; what is full, if it cannot be."""
        key = f"rl:{{-}}:connections:client:{client}"
        return await self._ask(connection, key, self.caps.client)

    def close(self, connection: Connection) -> None:
        """Give the place back. Twice is once."""
        if connection.is_open:
            connection.is_open = False
            self._open.discard(connection)
            self._leave(connection)
            self._put(_Change(connection, NOWHERE, connection.counted_in, UNLIMITED, False, None))

    async def _ask(self, connection: Connection, joins: str, most: int) -> Full | None:
        answer: asyncio.Future[Full | None] = asyncio.get_running_loop().create_future()
        is_new = not connection.is_open
        self._put(_Change(connection, joins, connection.counted_in, most, is_new, answer))
        return await answer

    def _put(self, change: _Change) -> None:
        self._changes.append(change)
        self._changed.set()

    async def _hold(self) -> None:
        while True:
            self._changed.clear()
            if self._is_unsure:
                await self._begin_anew()
            await self._tell(self._taken())
            if not self._changes and await self._something_changes():
                # More will have come by then, and a call costs the same for all of them.
                await asyncio.sleep(GATHER_S)

    async def _something_changes(self) -> bool:
        """Whether something does before the lease has to be renewed."""
        # Not `wait_for`, which may lose a cancellation when both come together (bpo-37658).
        try:
            async with asyncio.timeout(self._lease_s / REFRESHES):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _taken(self) -> list[_Change]:
        return [self._changes.popleft() for _ in range(min(BATCH, len(self._changes)))]

    async def _tell(self, changes: list[_Change]) -> None:
        """One call to Redis with `changes`; it renews the lease even if there are none."""
        keys, words = self._packed(changes)
        try:
            lost, self.others, *answers = await self._store.run_async(CONNECTIONS, keys, words)
        except StoreAway:
            self._is_unsure = self._is_unsure or bool(changes)
            self._settle(changes, self._locally)
            return
        except Exception as error:
            _fail(changes, error)
            logger.exception("connections cannot be counted")
            return
        found = iter(answers)
        self._settle(changes, lambda change: Full(code) if (code := next(found)) else None)
        if lost and self._open:
            self._restore()

    def _packed(self, changes: list[_Change]) -> tuple[list[Word], list[Word]]:
        caps = self.caps
        keys: list[Word] = [*KEYS]
        words: list[Word] = [
            self.process,
            self.held,
            caps.fleet,
            caps.process,
            round(self._lease_s * 1000),
            self._set_lives_s,
        ]
        for change in changes:
            keys += (change.joins or KEYS[0], change.leaves or KEYS[0])
            words += (change.connection.number, change.most, int(change.is_new))
        return keys, words

    def _settle(self, changes: list[_Change], judge: Callable[[_Change], Full | None]) -> None:
        for change in changes:
            full = judge(change)
            if change.answer is None:
                continue
            if full is None:
                self._take(change)
            if not change.answer.done():
                change.answer.set_result(full)
            elif change.is_new and full is None:
                # Whoever asked has left meanwhile.
                self.close(change.connection)

    def _take(self, change: _Change) -> None:
        connection = change.connection
        if not change.is_new and not connection.is_open:
            # Closed while the answer was on its way: what it has joined since, it leaves again.
            self._put(_Change(connection, NOWHERE, change.joins, UNLIMITED, False, None))
            return
        if connection.is_open:
            self._leave(connection)
        connection.is_open, connection.counted_in = True, change.joins
        self._open.add(connection)
        self._counts[change.joins] += 1

    def _leave(self, connection: Connection) -> None:
        self._counts[connection.counted_in] -= 1
        if self._counts[connection.counted_in] <= 0:
            del self._counts[connection.counted_in]

    def _locally(self, change: _Change) -> Full | None:
        """What this process decides alone."""
        if change.is_new and self.held >= self.caps.process:
            return Full.PROCESS
        if change.is_new and self.others + self.held >= self.caps.fleet:
            return Full.FLEET
        if change.most and self._counts[change.joins] >= change.most:
            return Full.SET
        return None

    async def _begin_anew(self) -> None:
        """Have Redis forget what it holds of us, under a name that we give up, and tell it all.

        What was closed meanwhile would count for as long as its set lives otherwise.
        """
        old = self.process
        try:
            await self._store.call_async(lambda client: client.zrem(KEYS[0], old))
            await self._store.call_async(lambda client: client.hdel(KEYS[1], old))
        except StoreAway:
            return
        self.process, self._is_unsure = process_name(), False
        self._restore()

    def _restore(self) -> None:
        """Redis has lost our lease, and perhaps all it knew: tell it every connection again."""
        logger.info("%d connections are reported again", self.held)
        self._changes.extendleft(
            _Change(connection, connection.counted_in, NOWHERE, UNLIMITED, False, None)
            for connection in self._open
        )


def _fail(changes: list[_Change], error: Exception) -> None:
    for change in changes:
        if change.answer is not None and not change.answer.done():
            change.answer.set_exception(error)
