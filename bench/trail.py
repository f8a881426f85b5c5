"""The audit trail: what a record costs, how fast one worker seals, what five million rows cost."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil

from bench.place import MeasureFailed, Place
from bench.row import Row, at_least, at_most
from dev import children, commands
from dev.children import Child
from dev.environment import ROOT

MILLION = 1_000_000
ROWS, QUICK_ROWS = 5 * MILLION, 20_000
#: Events of one drain: enough that the start of a worker does not count.
DRAINED, QUICK_DRAINED = 60_000, 3_000
DRAINS = 3
PAGES = 21
US, PER_S, MS = "us", "events per s", "ms"
LIMIT_S = 300


def rows(place: Place) -> Iterator[Row]:
    """First into a young table, then into a large one."""
    yield from recorded(place)
    yield from drained(place, "a young table", 10_000)
    count = QUICK_ROWS if place.quick else ROWS
    filled = place.told("bench.trail_rows", {"act": "fill", "rows": count})
    yield from drained(place, f"a table of {filled['rows']:,} rows", 7_500)
    yield from pages(place, filled["rows"])
    yield from drops(place)


def recorded(place: Place) -> Iterator[Row]:
    """`audit.record` beside an INSERT with COMMIT and beside a Celery task for each event."""
    records, commits = (2_000, 100) if place.quick else (20_000, 400)
    given = {"records": records, "commits": commits, "rounds": place.rounds}
    taken = place.told("bench.recording", given)
    p50 = {name: tuple(each[0] for each in spreads) for name, spreads in taken.items()}
    p99 = {name: tuple(each[1] for each in spreads) for name, spreads in taken.items()}
    yield Row("audit.record(), p50", US, p50["record"], goal=at_most(10))
    yield Row("audit.record(), p99", US, p99["record"], goal=at_most(50))
    note = "the interpreter's lock goes round among threads that compute: one waits 0.5 ms for it"
    yield Row("audit.record() while other threads compute, p50", US, p50["threads"])
    yield Row("audit.record() while other threads compute, p99", US, p99["threads"], note=note)
    inserted = "INSERT and COMMIT to audit.record(), p50"
    yield Row(inserted, US, p50["commit"], p50["record"], at_least(40))
    published = "a Celery task for each event to audit.record(), p50"
    yield Row(published, US, p50["celery"], p50["record"], at_least(100))


def drained(place: Place, into: str, goal: int) -> Iterator[Row]:
    """Spools that were filled while no shipper and no worker ran."""
    count = QUICK_DRAINED if place.quick else DRAINED
    rates, shares = [], []
    for _ in range(1 if place.quick else DRAINS):
        place.told("bench.trail_rows", {"act": "record", "rows": count})
        rate, share = _drain(place, count)
        rates.append(rate)
        shares.append(share)
    note = f"the worker itself took at most {max(shares):.0%} of a core"
    what = f"one worker drains and seals, into {into}"
    yield Row(what, PER_S, tuple(rates), goal=at_least(goal), note=note)


def pages(place: Place, count: int) -> Iterator[Row]:
    """Pages of the admin, as a superuser gets them."""
    given = {"act": "pages", "times": PAGES}
    for name, times_ms in place.told("bench.trail_rows", given).items():
        what = f"admin, {name}, of {count:,} events, median"
        yield Row(what, MS, (sorted(times_ms)[len(times_ms) // 2],), goal=at_most(100))


def drops(place: Place) -> Iterator[Row]:
    """The largest day's partition and the smallest's."""
    taken = place.told("bench.trail_rows", {"act": "drop"})
    large, small = taken["large"], taken["small"]
    what = f"drop of a day, {large['rows']:,} events to {small['rows']:,}"
    yield Row(what, MS, (large["ms"],), (small["ms"],))


def _drain(place: Place, count: int) -> tuple[float, float]:
    """Events per second between the first and the last that were stored, and the worker's share."""
    with ExitStack() as stack:
        worker = stack.enter_context(_running(place, "worker", commands.WORKER))
        stack.enter_context(_running(place, "shipper", commands.SHIPPER))
        told = place.told("bench.trail_rows", {"act": "await", "rows": count, "limit_s": LIMIT_S})
        cpu = psutil.Process(worker.pid)
        cpu_s = sum(sum(each.cpu_times()[:2]) for each in (cpu, *cpu.children(recursive=True)))
    return told["per_s"], cpu_s / told["took_s"]


@contextmanager
def _running(place: Place, name: str, module: Any) -> Iterator[Child]:
    env = {**place.env, "DJANGO_SETTINGS_MODULE": "stabilizer.settings"}
    log = place.directory / f"{name}.log"
    child = children.start(name, [sys.executable, "-m", *module], log, env=env, cwd=ROOT)
    try:
        yield child
    finally:
        children.stop([child], 20)
        if child.status not in (0, -15):
            raise MeasureFailed(f"{name} ended with {child.status}: {child.last_lines()}")
