"""What waiting devices cost while nothing happens, and while they come and go."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from bench import crowd, gateways, mariadb_usage
from bench.crowd import Crowd, Told
from bench.gateways import PROCESSES, Gateways
from bench.mariadb_usage import Counters
from bench.place import Place
from bench.row import Goal, Row, at_most

WAITING, QUICK_WAITING = 10_000, 200
CYCLES, COMING, QUICK_COMING = 3, 3_000, 200
#: Until connections that ended are gone from the gateway's books too.
QUIET_S = 2.0
#: In a process: REALTIME_THREADS, as by default.
THREADS = 2


def rows(place: Place) -> Iterator[Row]:
    """Gateways that start anew hold memory of nobody who was there before."""
    yield from held(place)
    yield from cycled(place)


def held(place: Place) -> Iterator[Row]:
    """So many wait on new gateways, from two client processes."""
    count = QUICK_WAITING if place.quick else WAITING
    file = crowd.pairings(place, count)
    with (
        gateways.running(place) as running,
        crowd.of(place, PROCESSES) as devices,
        mariadb_usage.counters(place.env["DATABASE_URL"]) as counters,
    ):
        time.sleep(QUIET_S)
        before = running.seen()
        devices.take(running, file, 0, count)
        told = devices.arrive()
        came = running.seen()
        connections = counters.connections
        idle, most = _idle(running, counters, 1 if place.quick else 10)
        memory_kb = (running.seen().memory_kb - before.memory_kb) / count
    note = f"the devices took {told.share:.0%} of the machine while they came"
    goal = _of_memory(place, 30)
    yield Row("memory per waiting socket", "KB", (memory_kb,), goal=goal, note=note)
    cpu_ms = (came.cpu_s - before.cpu_s) / count * 1000
    yield Row("CPU of the gateway per connection", "ms of CPU", (cpu_ms,))
    yield Row(f"{count:,} come, until each is answered", "s", (told.took_s,))
    yield Row(f"{PROCESSES} gateways, {count:,} waiting, CPU", "% of a core", (idle,))
    yield Row(
        f"connections to MariaDB, {count:,} waiting",
        "most at once",
        (max(most, connections),),
        # Its threads', and those of what it reads by the clock and for the dashboard.
        goal=at_most(PROCESSES * (THREADS + 2)),
    )


def _of_memory(place: Place, most_kb: float) -> Goal | None:
    """A few sockets cost little beside what the first ones make a process import and keep."""
    return None if place.quick else at_most(most_kb)


def _idle(running: Gateways, counters: Counters, seconds: float) -> tuple[float, float]:
    """Percent of a core, and the most connections to MariaDB, while nothing happens."""
    before, began = running.seen(), time.monotonic()
    most = 0
    while time.monotonic() < began + seconds:
        most = max(most, counters.connections)
        time.sleep(0.1)
    used_s = running.seen().cpu_s - before.cpu_s
    return 100 * used_s / (time.monotonic() - began), most


class Cycle(NamedTuple):
    """So many have come at once, and left."""

    told: Told
    cpu_s: float
    selects: int
    #: When they were gone.
    memory_kb: float


def cycled(place: Place) -> Iterator[Row]:
    """The same devices come at once and leave, over and over."""
    count = QUICK_COMING if place.quick else COMING
    file = crowd.pairings(place, count)
    with (
        gateways.running(place) as running,
        crowd.of(place, PROCESSES) as devices,
        mariadb_usage.counters(place.env["DATABASE_URL"]) as counters,
    ):
        devices.take(running, file, 0, count)
        cycles = [_cycle(running, devices, counters, count) for _ in range(CYCLES)]
    share = max(cycle.told.share for cycle in cycles)
    note = f"the devices took at most {share:.0%} of the machine while they came at once"
    kept_kb = (cycles[-1].memory_kb - cycles[0].memory_kb) / (CYCLES - 1) / count
    yield Row(
        f"memory kept of {count:,} who came and left, after {CYCLES} times to once",
        "KB per socket",
        (kept_kb,),
        goal=_of_memory(place, 1),
    )
    selects = tuple(cycle.selects / count for cycle in cycles)
    what = f"{count:,} come at once"
    yield Row(f"{what}: queries for each", "SELECTs", selects, goal=at_most(0.1), note=note)
    took_s = tuple(cycle.told.took_s for cycle in cycles)
    yield Row(f"{what}, until each is answered", "s", took_s)
    cpu_ms = tuple(cycle.cpu_s / count * 1000 for cycle in cycles)
    yield Row(f"{what}: CPU of the gateway for each", "ms of CPU", cpu_ms)


def _cycle(running: Gateways, devices: Crowd, counters: Counters, count: int) -> Cycle:
    before, selects = running.seen(), counters.selects
    told = devices.arrive(at_once=count)
    cpu_s, selects = running.seen().cpu_s - before.cpu_s, counters.selects - selects
    devices.leave()
    time.sleep(QUIET_S)
    return Cycle(told, cpu_s, selects, running.seen().memory_kb)
