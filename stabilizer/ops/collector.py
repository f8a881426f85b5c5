"""Each process reports what it counted once a second; one of them collects for the dashboard.

Who collects is decided by a lease in Redis. Without Redis each process knows of itself alone, and
says so; what it counts meanwhile reaches the totals when Redis is back.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from ratelimit import cache, connections, leases
from ratelimit.leases import Demand
from ratelimit.store import Store, StoreAway
from stabilizer.gate import policy
from stabilizer.gate.control import Control
from stabilizer.gate.observer import Counts
from stabilizer.health import Readiness
from stabilizer.ops import bound, history, shelf, standing, totals
from stabilizer.ops.depths import Depths
from stabilizer.ops.row import COLUMNS, Value, refusals, row
from stabilizer.ops.totals import Receipt, Word
from stabilizer.ops.watch import Watch

logger = logging.getLogger(__name__)

EVERY_S = 1.0
#: Seconds in a row of the day.
TEN = 10
#: How long a process that has fallen silent without a word is shown.
SHOWN_MS = 60_000
#: What processes of an older version do not say of themselves.
UNSAID = {
    "pressure": 0,
    "let_in": 1.0,
    "asks": True,
    "processes": 1,
    "lapsed": False,
    "limit": 0,
    "ended": False,
}
#: Refusals by policy and reason that the table names.
TOP = 8


class Collector:
    """One process's part in the dashboard. Lives in one event loop."""

    def __init__(
        self,
        control: Control,
        readiness: Readiness,
        *,
        role: str = "web",
        store: Store | None = None,
    ) -> None:
        self.store = store or shelf.shared()
        self.process = control.lease.process
        #: What this process knows by itself, as JSON, while nothing is heard of the others.
        self.alone: str | None = None
        self._control = control
        self._readiness = readiness
        self._role = role
        self._depths = Depths()
        self._watch = Watch()
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[Any] | None = None
        self._checks: dict[str, Any] = {}
        #: The batch under way, sent again until it is known to be in the totals, and what is next.
        self._batch: Counts | None = None
        self._number = time.time_ns() // 1_000
        self._next: Counts = {}
        self._reported_at = time.monotonic()
        #: While this process collects: the last totals, when they were read, and of ten seconds.
        self._before: tuple[Counts, int] | None = None
        self._ten: list[tuple[Counts, float]] = []

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="ops")

    async def stop(self) -> None:
        """Report the last counts, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        self._ended = True
        try:
            # The batch under way first, then what was counted since.
            await self._report(self._take())
            await self._report({})
        except StoreAway:
            logger.info("the last counts could not be reported")
        await self._watch.stop()
        await self._depths.close()

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            try:
                await self.tick()
            except Exception:
                logger.exception("a second is missing on the dashboard")
            due = max(due + EVERY_S, time.monotonic() + EVERY_S / 4)
            await asyncio.sleep(due - time.monotonic())

    async def tick(self) -> None:
        """What is done each second."""
        counts = self._take()
        now = time.monotonic()
        seconds, self._reported_at = max(0.1, now - self._reported_at), now
        try:
            receipt = await self._report(counts)
        except StoreAway:
            self._before, self._ten = None, []
            self.alone = await self._know_alone(counts, seconds)
            return
        self.alone = None
        if receipt.collects:
            try:
                await self._collect(receipt.now_ms)
            except StoreAway:
                self._before = None
        else:
            self._before, self._ten = None, []

    async def _report(self, counts: Counts) -> Receipt:
        self._next = totals.added(self._next, counts)
        if self._batch is None:
            self._batch, self._next = self._next, {}
            self._number += 1
        word = self._word()
        receipt = await totals.report(self.store, self.process, self._number, word, self._batch)
        self._batch = None
        return receipt

    def _take(self) -> Counts:
        """What this process has counted since the last call: at its gate, and of its caches."""
        return self._control.observer.take() | cache.take()

    def _word(self) -> dict[str, Any]:
        control, store = self._control, self._control.limiter.store
        return {
            "role": self._role,
            "mode": str(store.mode),
            "asks": store.health.asks,
            "processes": store.processes,
            "share": control.lease.share,
            "lapsed": control.lease.lapsed,
            "limit": control.adaptive.settled,
            "most": control.useful,
            "in_use": control.slots.in_use,
            "waiting": control.slots.waiting,
            "pressure": control.pressure.level,
            "let_in": round(control.shedding.share, 3),
            "ended": self._ended,
        }

    async def _collect(self, now_ms: int) -> None:
        counts = await totals.read(self.store)
        self._watch.look(counts)
        words = _shown(await totals.words(self.store, now_ms), now_ms)
        demands = await leases.fleet(self.store)
        sockets = await connections.fleet(self.store)
        before, self._before = self._before, (counts, now_ms)
        if before is None or now_ms <= before[1]:
            return
        seconds = (now_ms - before[1]) / 1000
        second = totals.since(counts, before[0])
        excess = bound.of(words, now_ms, policy.table.policies)
        gauges = _gauges(demands, words, sockets, excess) | await self._depths.gauges()
        values = row(now_ms / 1000, second, seconds, gauges)
        self._ten.append((second, seconds))
        ten = self._finish_ten(now_ms, gauges) if len(self._ten) >= TEN else None
        processes = _processes(demands, words, now_ms)
        document = self._document("fleet", values, processes, second, excess)
        await history.keep(self.store, document, json.dumps(values), ten)

    def _finish_ten(self, now_ms: int, gauges: Mapping[str, Value]) -> str:
        counts = totals.added(*(each for each, _ in self._ten))
        seconds = sum(each for _, each in self._ten)
        self._ten = []
        return json.dumps(row(now_ms / 1000, counts, seconds, gauges))

    async def _know_alone(self, counts: Counts, seconds: float) -> str:
        now_ms = time.time_ns() // 1_000_000
        word = Word(now_ms, self._word())
        said = {self.process: word}
        demand = Demand(word.said["share"], word.said["in_use"] + word.said["waiting"])
        excess = bound.of(said, now_ms, policy.table.policies)
        gauges = _gauges({self.process: demand}, said, {}, excess) | await self._depths.gauges()
        gauges |= {"redis": 0.0, "sockets": None}
        values = row(now_ms / 1000, counts, seconds, gauges)
        processes = _processes({}, said, now_ms)
        return self._document("process", values, processes, counts, excess)

    def _document(
        self,
        scope: str,
        values: list[Value],
        processes: list[dict[str, Any]],
        counts: Counts,
        excess: dict[str, Any],
    ) -> str:
        self._look_around()
        pressure = max((each["pressure"] for each in processes), default=0)
        top = sorted(refusals(counts).items(), key=lambda item: -item[1])[:TOP]
        return json.dumps(
            {
                "scope": scope,
                "row": values,
                "processes": processes,
                "refusals": [[policy, reason, number] for (policy, reason), number in top],
                "checks": self._checks,
                "pressure": pressure,
                "flags": standing.flags_at(pressure),
                "breakers": standing.breakers(self._control),
                "bound": excess,
                "limits": {"slots": settings.GATE_SLOTS, "sockets": settings.CONNECTIONS},
            }
        )

    def _look_around(self) -> None:
        """The probes' checks may take a second each: what is shown is what was found last."""
        if self._checking is not None and not self._checking.done():
            return
        if self._checking is not None and not self._checking.cancelled():
            self._checks = self._checking.result()["checks"]
        self._checking = asyncio.create_task(self._readiness.report())


def _shown(words: Mapping[str, Word], now_ms: int) -> dict[str, Word]:
    """The processes that are there, as far as is known: one that was killed may be cut off."""
    full = {name: word._replace(said={**UNSAID, **word.said}) for name, word in words.items()}
    return {
        name: word
        for name, word in full.items()
        if now_ms - word.at_ms < SHOWN_MS and not word.said["ended"]
    }


def _gauges(
    demands: Mapping[str, Demand],
    words: Mapping[str, Word],
    sockets: Mapping[str, int],
    excess: Mapping[str, Any],
) -> dict[str, Value]:
    return {
        "slots_held": sum(word.said["in_use"] for word in words.values()),
        "slots_most": min(settings.GATE_SLOTS, sum(word.said["most"] for word in words.values())),
        "slots_adaptive": sum(word.said["limit"] for word in words.values()),
        "slots_wanted": sum(demand.wants for demand in demands.values()),
        "waiting": sum(word.said["waiting"] for word in words.values()),
        "sockets": sum(sockets.values()),
        "redis": 1.0,
        "pressure": max((word.said["pressure"] for word in words.values()), default=0),
        "let_in_percent": 100 * min((word.said["let_in"] for word in words.values()), default=1),
        "bound_slots": excess["slots"],
        "bound_percent": excess["percent"],
    }


def _processes(
    demands: Mapping[str, Demand], words: Mapping[str, Word], now_ms: int
) -> list[dict[str, Any]]:
    return [
        {
            "name": name.rpartition(":")[0],
            "age_s": round((now_ms - word.at_ms) / 1000, 1),
            "wants": demands[name].wants if name in demands else None,
            **word.said,
        }
        for name, word in sorted(words.items())
    ]


def columns() -> list[str]:
    """The names of a row's values, for the page."""
    return list(COLUMNS)
