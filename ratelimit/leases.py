"""This process's share of the fleet's slots, leased from Redis and renewed every second."""

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ratelimit.scripts import Script, text
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)

LEASE = Script(Path(__file__).parent / "lua" / "lease.lua")
KEYS = ("rl:{-}:slots:leases", "rl:{-}:slots:demand")
LEASE_S = 3.0
#: Of a lease: two refreshes may be missed.
REFRESHES = 3
#: The soonest a refresh follows another, however much demand grows.
SOONEST_S = 0.020
#: The next refresh while requests still run in slots that were taken back.
DRAINING_S = 0.100


class Demand(NamedTuple):
    """Slots in use, slots that could be used now (those included), and how many are critical."""

    has: int
    wants: int
    critical: int = 0


async def fleet(store: Store) -> dict[str, Demand]:
    """What each process reported last, by its name; raises `StoreAway`.

    A process that ended without a word is in it until another refreshes after its lease.
    """
    return demands(await store.call_async(lambda client: client.hgetall(KEYS[1])))


def fleet_now(store: Store) -> dict[str, Demand]:
    """`fleet` for threads."""
    return demands(store.call(lambda client: client.hgetall(KEYS[1])))


def demands(reports: Mapping[bytes | str, bytes | str]) -> dict[str, Demand]:
    """What is kept at `KEYS[1]`, as `fleet` gives it."""
    texts = {text(name): text(report) for name, report in reports.items()}
    return {
        name: Demand(*map(int, report.split())) for name, report in texts.items() if name != "#"
    }


def process_name() -> str:
    """A name for this process that no other process, of any host, has or ever had."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class SlotLease:
    """Holds `share` slots for this process: as many as it wants and the fleet can spare.

    Without Redis the share stays what it was and never grows; a process cut off alone may so add
    its share to the fleet's slots (`renewed_s` tells for how long it has been cut off). What is
    taken from a share is given to others only once the requests in those slots have ended.
    """

    def __init__(
        self,
        store: Store,
        cap: int,
        demand: Callable[[], tuple[int, int, int]],
        *,
        idle: int = 1,
        cold_share: int = 0,
        on_share: Callable[[int], object] = lambda share: None,
        lease_s: float = LEASE_S,
        process: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`idle` slots are wanted even without demand: the first request then needs no round trip,
        and an outage finds a share to go on with. `cold_share` is what a process uses that has
        never reached Redis. `on_share` hears of every change. `process` names the holder; without
        it the lease makes a name.
        """
        self.share = cold_share
        self.processes = 1
        #: Redis had lost the leases: for this long nobody is granted more than it holds.
        self.recovering_s = 0.0
        self.process = process or process_name()
        self._store = store
        self._cap = cap
        self._demand = demand
        self._idle = idle
        self._on_share = on_share
        self._lease_s = lease_s
        self._refresh_s = lease_s / REFRESHES
        self._clock = clock
        self._renewed_at = clock()
        self._alarmed = False
        self._wake: Callable[[], object] = lambda: None
        self._task: asyncio.Task[None] | None = None

    @property
    def renewed_s(self) -> float:
        """How long ago Redis last confirmed the lease."""
        return self._clock() - self._renewed_at

    @property
    def lapsed(self) -> bool:
        """Whether others may be given this share anew, while this process goes on with it."""
        return self.renewed_s >= self._lease_s

    @property
    def falls_short(self) -> bool:
        """Whether demand has passed the share: then `nudge`."""
        return self._demand()[1] > self.share

    def nudge(self) -> None:
        """Refreshes soon. Cheap to call often, from any task."""
        self._wake()

    def start(self) -> None:
        """Keeps the lease in a task of the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._hold(), name="slot-lease")

    async def stop(self) -> None:
        """Ends the task and gives the slots back."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        try:
            await self._store.run_async(LEASE, KEYS, self._words(Demand(0, -1)))
        except StoreAway:
            logger.info("the slots could not be given back; they lapse in %.0f s", self._lease_s)

    async def refresh(self) -> float:
        """Renews the lease; returns the seconds until it should be renewed again."""
        report = self._report()
        try:
            answer = await self._store.run_async(LEASE, KEYS, self._words(report))
        except StoreAway:
            return self._missed()
        return self._settle(report, answer)

    def refresh_now(self) -> float:
        """`refresh` for threads."""
        report = self._report()
        try:
            answer = self._store.run(LEASE, KEYS, self._words(report))
        except StoreAway:
            return self._missed()
        return self._settle(report, answer)

    def hold_now(self, stopped: threading.Event) -> None:
        """Keeps the lease in this thread until `stopped` is set, then gives the slots back."""
        nudged = threading.Event()
        self._wake = nudged.set
        while not stopped.is_set():
            rest_s = self.refresh_now()
            stopped.wait(SOONEST_S)
            nudged.wait(max(0, rest_s - SOONEST_S))
            # Before the look at `stopped`, or a nudge that follows it would be forgotten.
            nudged.clear()
        self.give_back_now()

    def give_back_now(self) -> None:
        """Gives the slots back, and takes what this process wanted off the record; for threads."""
        try:
            self._store.run(LEASE, KEYS, self._words(Demand(0, -1)))
        except StoreAway:
            logger.info("the slots could not be given back; they lapse in %.0f s", self._lease_s)

    async def _hold(self) -> None:
        nudged = asyncio.Event()
        self._wake = nudged.set
        while True:
            nudged.clear()
            rest_s = await self.refresh()
            await asyncio.sleep(SOONEST_S)
            try:
                async with asyncio.timeout(max(0, rest_s - SOONEST_S)):
                    await nudged.wait()
            except TimeoutError:
                continue

    def _report(self) -> Demand:
        in_use, wants, critical = self._demand()
        # Until the answer is here the whole share may be taken.
        return Demand(max(self.share, in_use), max(wants, self._idle), critical)

    def _words(self, report: Demand) -> list[str | int]:
        return [self.process, *report, self._cap, round(self._lease_s * 1000)]

    def _missed(self) -> float:
        """Not renewed. Once the lease has lapsed, others may be given the same slots anew."""
        if self.lapsed and self.share and not self._alarmed:
            self._alarmed = True
            logger.error(
                "%s is cut off and keeps its %d slots; if it is cut off alone, the fleet may pass "
                "its %d by them",
                self.process,
                self.share,
                self._cap,
            )
        return self._refresh_s

    def _settle(self, report: Demand, answer: list[int]) -> float:
        if self._alarmed:
            self._alarmed = False
            logger.warning("%s has its lease again after %.0f s", self.process, self.renewed_s)
        share, alive, self.recovering_s = answer[0], answer[1], answer[2] / 1000
        # A Redis that was emptied, or away, knows only who has come back. Local limits, which are
        # shares of as many as there are, still bind then: until all had time to come back nobody
        # is taken for gone.
        early = self.recovering_s or self._store.health.is_back
        self.processes = max(alive, self.processes) if early else alive
        self._store.processes = max(1, self.processes)
        self._renewed_at = self._clock()
        shrunk = share < self.share
        if share != self.share:
            self.share = share
            self._on_share(share)
        if shrunk:
            return SOONEST_S
        if report.has > share:
            return DRAINING_S
        return min(self._refresh_s, self.recovering_s or self._refresh_s)
