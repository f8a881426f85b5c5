"""Whether HTTP is served as well while thousands wait: the stampede, in turns with and without."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from bench import crowd, gateways, product_processes
from bench.crowd import Crowd
from bench.place import MeasureFailed, Place
from bench.product_processes import DEADLINE_S, Service
from bench.rounds import in_turn
from bench.row import Row, at_least

TURNS = 3
WAITING, QUICK_WAITING = 5_000, 200
DEVICES, QUICK_DEVICES = 1_000, 40
UNIT = "answers per s"


def rows(place: Place) -> Iterator[Row]:
    """Where figures count, the first stampede of all only warms up."""
    waiting = QUICK_WAITING if place.quick else WAITING
    devices = QUICK_DEVICES if place.quick else DEVICES
    file = crowd.pairings(place, waiting)
    with (
        gateways.running(place) as running,
        product_processes.running(place, running.env) as serving,
        crowd.of(place, 1) as waiters,
    ):
        waiters.take(running, file, 0, waiting)
        if not place.quick:
            serving.stampede(devices)
        alone = partial(serving.stampede, devices)
        reports = in_turn(
            1 if place.quick else TURNS,
            {"beside": partial(_beside, serving, waiters, devices), "alone": alone},
        )
    ours, peers = (tuple(map(goodput, reports[name])) for name in ("beside", "alone"))
    name = f"HTTP stampede of {devices:,} with {waiting:,} sockets waiting, to without"
    yield Row(name, UNIT, ours, peers, at_least(0.9), _note(reports))


def goodput(report: Mapping[str, Any]) -> float:
    """Answers per second in the five seconds that had the most of them."""
    return float(report["peak_per_second"])


def _beside(serving: Service, waiters: Crowd, devices: int) -> dict[str, Any]:
    waiters.arrive()
    report = serving.stampede(devices)
    told = waiters.settle(limit_s=0)
    waiters.leave()
    if told.waiting < told.devices or told.broken:
        raise MeasureFailed(f"not everybody could wait all the time: {told}")
    return report


def _note(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    of_all = [each for of_one in reports.values() for each in of_one]
    share = max(each["load_cpu_s"] / each["took_s"] for each in of_all) / (os.cpu_count() or 1)
    served = {name: min(each["served_percent"] for each in of) for name, of in reports.items()}
    errors = sum(sum(each["transport_errors"].values()) for each in of_all)
    return (
        f"the stampede's load took at most {share:.0%} of the machine; served within "
        f"{DEADLINE_S} s at least {served['beside']:g} % beside and {served['alone']:g} % alone, "
        f"{errors} transport errors"
    )
