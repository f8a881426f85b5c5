"""Ten thousand who come in one second: they return as a ramp, or as one wave after the other.

The same gate twice: with its advice, and with Retry-After: 1 for everybody.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import doors, picture, returning, saturation
from bench.goodput import CLIENTS
from bench.place import Place
from bench.returning import Crowd
from bench.row import Row, at_least, at_most
from dev.environment import ROOT

CLIENTS_IN_A_SECOND = 10_000
REQUEST = "GET /brief HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ADVICE: Mapping[str, str] = {"advice of the gate": "gated", "Retry-After: 1": "gated_at_once"}
OURS, FIXED = ADVICE
PICTURE = ROOT / ".run" / "herd.png"


@dataclass(frozen=True)
class Run:
    """A crowd, and what the door could serve just before."""

    capacity: float
    crowd: Crowd

    @property
    def steepest(self) -> float:
        """The most who return in a second, as a multiple of what can be served."""
        return max(self.crowd.returned) / self.capacity

    @property
    def served(self) -> float:
        return 100 * sum(self.crowd.served) / (sum(self.crowd.served) + self.crowd.unserved)


def rows(place: Place) -> Iterator[Row]:
    """How steep the return is, whether all are served, and a picture of both."""
    count = 500 if place.quick else CLIENTS_IN_A_SECOND
    rounds = [
        {name: run(place, application, count) for name, application in ADVICE.items()}
        for _ in range(1 if place.quick else 3)
    ]
    picture.ramp({name: each.crowd.asked for name, each in rounds[0].items()}, PICTURE)
    ours, fixed = (tuple(each[name] for each in rounds) for name in (OURS, FIXED))
    what = f"{count:,} come in a second"
    unit = "times the capacity"
    steepest, waves = (tuple(each.steepest for each in runs) for runs in (ours, fixed))
    yield Row(f"{what}: arrivals after the advice", unit, steepest, (), at_most(1.2), _note(ours))
    yield Row(f"{what}: the same with {FIXED}", unit, waves)
    yield Row(f"{what}: served", "%", tuple(each.served for each in ours), (), at_least(100))
    took, took_fixed = (tuple(each.crowd.took_s for each in runs) for runs in (ours, fixed))
    yield Row(f"{what}: until all are served, to {FIXED}", "s", took, took_fixed)
    asked, asked_fixed = (
        tuple(sum(each.crowd.asked) / count for each in runs) for runs in (ours, fixed)
    )
    yield Row(f"{what}: requests of each until served, to {FIXED}", "", asked, asked_fixed)


def run(place: Place, application: str, count: int) -> Run:
    with doors.uvicorn(application, place) as door:
        load = partial(saturation.load, place, door.port, [REQUEST.encode()], clients=4 * CLIENTS)
        load(load_s=place.load_s / 2)
        per_s = load(load_s=place.load_s).per_second(200)
        return Run(per_s, returning.come(place, door.port, REQUEST, clients=count))


def _note(runs: tuple[Run, ...]) -> str:
    share = max(each.crowd.cpu_share for each in runs)
    capacity = median(each.capacity for each in runs)
    errors = sum(each.crowd.errors for each in runs)
    return (
        f"capacity {capacity:.0f}/s; {errors} transport errors; the crowd took at most {share:.0%} "
        f"of a core; {PICTURE.name} shows both"
    )
