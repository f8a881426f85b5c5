"""A rolling restart of the gateways: everybody is told when to return, and is expected then."""

import time
from collections.abc import Iterator

from bench import crowd, gateways
from bench.crowd import Told
from bench.gateways import PROCESSES
from bench.place import MeasureFailed, Place
from bench.row import Row, at_least, at_most

WAITING, QUICK_WAITING = 3_000, 200
#: Whoever returns in time is answered so soon.
LATE_S = 1.0


def rows(place: Place) -> Iterator[Row]:
    """One process after the other ends, and is started anew on its socket."""
    yield from restarted(place, QUICK_WAITING if place.quick else WAITING)


def restarted(place: Place, count: int) -> Iterator[Row]:
    """A restart while `count` devices wait."""
    file = crowd.pairings(place, count)
    with gateways.running(place) as running, crowd.of(place, 1) as devices:
        devices.take(running, file, 0, count)
        devices.arrive()
        before, began = running.seen(), time.monotonic()
        statuses = [running.restart(number) for number in range(PROCESSES)]
        told = devices.settle()
        took_s, cpu_s = time.monotonic() - began, running.seen().cpu_s - before.cpu_s
    if any(statuses):
        raise MeasureFailed(f"the gateways ended with {statuses}")
    what = f"rolling restart, {count:,} waiting"
    yield Row(f"{what}: wait again", "%", (told.served_percent,), goal=at_least(100))
    yield Row(
        f"{what}: answered within {LATE_S:g} s of the time they were told",
        "%",
        (_in_time_percent(told),),
        goal=at_least(100),
        note=_note(told),
    )
    broken = sum(told.broken.values())
    yield Row(f"{what}: refused, broken or 5xx", "connections", (broken,), goal=at_most(0))
    yield Row(f"{what}, until everybody waits again", "s", (took_s,))
    yield Row(f"{what}: CPU of the gateways, with both starts", "s of CPU", (cpu_s,))


def _in_time_percent(told: Told) -> float:
    if not told.told:
        raise MeasureFailed(f"nobody was told to return: {told}")
    return 100 * sum(late_s <= LATE_S for late_s in told.late_s) / told.told


def _note(told: Told) -> str:
    late = sum(late_s > LATE_S for late_s in told.late_s)
    longest_s = max(told.late_s, default=0.0)
    return (
        f"in the restart {told.told:,} byes said when to return, {len(told.late_s):,} returns were "
        f"answered, {late:,} of them late, the last after {longest_s:.2f} s; {told}"
    )
