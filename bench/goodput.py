"""Goodput beyond capacity: how many are served in time, of clients that wait for nobody's answer.

Behind every door is the same view: one query and 5 ms of processor time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import arrivals, contestants, picture, saturation
from bench.arrivals import Offered, Stream
from bench.contestants import CONTESTANTS, DEADLINE_S, OURS, Contestant
from bench.place import Place
from bench.row import Row, at_least
from dev.environment import ROOT

PATH = "/work"
MULTIPLES = (1, 2, 5, 10)
MOST = MULTIPLES[-1]
#: Clients of the closed loop that measures the capacity: as many as the gate lets through.
CLIENTS = 8
PICTURE = ROOT / ".run" / "goodput.png"
UNIT = f"answers in {DEADLINE_S:g} s, per s"
ALL = "all"


@dataclass(frozen=True)
class Round:
    """All contestants at all multiples of the capacity that our own door had just before."""

    capacity: float
    offered: Mapping[tuple[str, int], Offered]

    def goodput(self, name: str, multiple: int) -> float:
        return _goodput(self.offered[name, multiple])

    @property
    def peak(self) -> float:
        return max(_goodput(each) for (name, _), each in self.offered.items() if name == OURS)


def rows(place: Place) -> Iterator[Row]:
    """Ours beyond capacity against our own peak and against the others, and a picture."""
    multiples = (1, MOST) if place.quick else MULTIPLES
    rounds = [one_round(place, multiples) for _ in range(1 if place.quick else 3)]
    picture.draw(_medians(rounds), DEADLINE_S, PICTURE)
    what = f"goodput at {MOST} times the capacity"
    beyond = tuple(each.goodput(OURS, MOST) for each in rounds)
    peaks = tuple(each.peak for each in rounds)
    yield Row(f"{what}, to our own peak", UNIT, beyond, peaks, at_least(0.95), _note(rounds))
    for name in CONTESTANTS:
        if name != OURS:
            theirs = tuple(each.goodput(name, MOST) for each in rounds)
            yield Row(f"{what}, to {name}", UNIT, beyond, theirs, at_least(1))


def one_round(place: Place, multiples: Sequence[int]) -> Round:
    per_s = capacity(place)
    runs = {
        (name, multiple): offered(place, contestant, multiple * per_s, per_s)
        for multiple in multiples
        for name, contestant in CONTESTANTS.items()
    }
    return Round(per_s, runs)


def capacity(place: Place) -> float:
    """Requests per second of our own door with as many clients as it lets through."""
    with contestants.ours(place) as door:
        load = partial(saturation.load, place, door.port, [_ask(PATH)], clients=CLIENTS)
        load(load_s=place.load_s / 2)
        return load(load_s=place.load_s).per_second(200)


def offered(place: Place, contestant: Contestant, rate: float, per_s: float) -> Offered:
    """What a contestant makes of `rate` arrivals a second. It starts anew: no backlog is left."""
    ask = _ask(contestant.prefix + PATH)
    with contestant.start(place, per_s) as door:
        saturation.load(place, door.port, [ask], clients=CLIENTS, load_s=place.load_s / 4)
        streams = [Stream(ALL, [ask.decode()], rate)]
        return arrivals.offer(place, door.port, streams, load_s=place.load_s, deadline_s=DEADLINE_S)


def _ask(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _goodput(offered: Offered) -> float:
    return offered.outcomes[ALL].goodput


def _medians(rounds: Sequence[Round]) -> dict[str, dict[int, float]]:
    medians: dict[str, dict[int, float]] = {}
    for name, multiple in rounds[0].offered:
        goodputs = [each.goodput(name, multiple) for each in rounds]
        medians.setdefault(name, {})[multiple] = median(goodputs)
    return medians


def _note(rounds: Sequence[Round]) -> str:
    runs = [run for each in rounds for run in each.offered.values()]
    share = max(each.cpu_share for each in runs)
    lag_ms = max(each.lag_s for each in runs) * 1000
    capacity = median(each.capacity for each in rounds)
    return (
        f"capacity {capacity:.0f}/s in a closed loop; the load took at most {share:.0%} of a core "
        f"and was {lag_ms:.0f} ms late at worst; {PICTURE.name} shows all multiples"
    )
