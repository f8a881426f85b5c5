"""More of everything than can be served: what must not fail is served first.

Behind every door is the same view (one query and 5 ms of processor time), whatever it stands for:
one call in five is critical, half are normal, three in ten can be left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bench import arrivals, contestants, saturation
from bench.arrivals import Offered, Stream
from bench.contestants import CONTESTANTS, DEADLINE_S, OURS, Contestant
from bench.goodput import CLIENTS
from bench.place import Place
from bench.row import Row, at_least, at_most

#: Of all calls, and what each asks. The gate knows by the route how critical a call is.
MIX: Mapping[str, tuple[float, tuple[str, str]]] = {
    "critical": (0.2, ("POST", "/api/v1/pairings/UDID-1/credentials/")),
    "normal": (0.5, ("GET", "/api/v1/me/")),
    "sheddable": (0.3, ("GET", "/api/v1/devices/")),
}
UNLOADED = 0.3
MULTIPLES = (1, 2, 4, 5)
MOST = MULTIPLES[-1]


@dataclass(frozen=True)
class Round:
    """What became of each sort of call, by contestant and multiple of our own capacity."""

    capacity: float
    offered: Mapping[tuple[str, float], Offered]

    def success(self, name: str, multiple: float, sort: str) -> float:
        return 100 * self.offered[name, multiple].outcomes[sort].success

    def p95_ms(self, name: str, multiple: float, sort: str) -> float:
        return 1000 * self.offered[name, multiple].outcomes[sort].p95_s


def rows(place: Place) -> Iterator[Row]:
    """How each sort fares with us, and the critical ones with the others."""
    multiples = (1, MOST) if place.quick else MULTIPLES
    rounds = [one_round(place, multiples) for _ in range(1 if place.quick else 3)]
    for multiple in multiples:
        for sort in MIX:
            ours = tuple(each.success(OURS, multiple, sort) for each in rounds)
            # At five times the capacity the critical calls alone are as many as can be served.
            goal = at_least(99.9) if sort == "critical" else None
            yield Row(
                f"{sort} calls at {multiple} times the capacity: answered", "%", ours, (), goal
            )
    for multiple in multiples:
        loaded, unloaded = (
            tuple(each.p95_ms(OURS, which, "critical") for each in rounds)
            for which in (multiple, UNLOADED)
        )
        what = f"p95 of critical calls at {multiple} times the capacity, to unloaded"
        yield Row(what, "ms", loaded, unloaded, at_most(2), _note(rounds))
    for name in CONTESTANTS:
        if name != OURS:
            ours, theirs = (
                tuple(each.success(which, MOST, "critical") for each in rounds)
                for which in (OURS, name)
            )
            what = f"critical calls at {MOST} times the capacity: answered, to {name}"
            yield Row(what, "%", ours, theirs, at_least(1))


def one_round(place: Place, multiples: tuple[int, ...]) -> Round:
    per_s = capacity(place)
    runs = {
        (OURS, multiple): offered(place, CONTESTANTS[OURS], multiple * per_s, per_s)
        for multiple in (UNLOADED, *multiples)
    }
    for name, contestant in CONTESTANTS.items():
        if name != OURS:
            runs[name, MOST] = offered(place, contestant, MOST * per_s, per_s)
    return Round(per_s, runs)


def capacity(place: Place) -> float:
    """Requests of the mix per second through our own door, with as many as it lets through."""
    requests = [_words(words) for share, words in MIX.values() for _ in range(round(10 * share))]
    with contestants.ours(place) as door:
        load = partial(
            saturation.load,
            place,
            door.port,
            [request.encode() for request in requests],
            clients=CLIENTS,
        )
        load(load_s=place.load_s / 2)
        return load(load_s=place.load_s).per_second(200)


def offered(place: Place, contestant: Contestant, rate: float, per_s: float) -> Offered:
    """What a contestant, begun anew, makes of `rate` calls a second."""
    streams = [
        Stream(sort, [_words(words, contestant.prefix)], share * rate)
        for sort, (share, words) in MIX.items()
    ]
    with contestant.start(place, per_s) as door:
        return arrivals.offer(
            place, door.port, streams, load_s=2 * place.load_s, deadline_s=DEADLINE_S
        )


def _words(call: tuple[str, str], prefix: str = "") -> str:
    method, path = call
    return f"{method} {prefix}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


def _note(rounds: list[Round]) -> str:
    runs = [run for each in rounds for run in each.offered.values()]
    share = max(each.cpu_share for each in runs)
    capacities = ", ".join(f"{each.capacity:.0f}" for each in rounds)
    return f"capacity {capacities}/s; the load took at most {share:.0%} of a core"
