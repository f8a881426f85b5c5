"""One that comes a hundred times as often as its share: what is left for the others.

Behind the gate is one view (one query and 5 ms of processor time). The others want two fifths of
what can be served; the one that floods wants four times all of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import arrivals, contestants, mix
from bench.arrivals import Stream
from bench.contestants import DEADLINE_S
from bench.devices import FINGERPRINT
from bench.place import Place
from bench.row import Row, at_least

OTHERS = 10
#: Of the capacity, what each of them sends; and so many times as much comes from the one.
SHARE = 0.04
TIMES = 100
#: Devices that flood one endpoint together.
CROWD = 50
AN_ENDPOINT = "an endpoint"
#: So long a flood has all to itself before the others come; from one second later they are counted.
ALONE_S = 2.0


@dataclass(frozen=True)
class Flood:
    """A request of one of the others, by its number, and one of a flood."""

    of_other: Callable[[int], str]
    of_flood: Callable[[int], str]
    #: The flood comes from so many.
    crowd: int = 1

    def others(self, per_s: float, late_s: float = 0.0) -> list[Stream]:
        rate = SHARE * per_s
        return [Stream(f"other {n}", [self.of_other(n)], rate, late_s) for n in range(OTHERS)]

    def flood(self, per_s: float) -> list[Stream]:
        rate = TIMES * SHARE * per_s / self.crowd
        return [Stream(f"flood {n}", [self.of_flood(n)], rate) for n in range(self.crowd)]


@dataclass(frozen=True)
class Round:
    """Goodput of the others, in answers per second."""

    alone: float
    beside: float
    capacity: float


def floods(keys: Sequence[str]) -> dict[str, Flood]:
    """A tenant, a device, and an endpoint that is flooded. `keys` are those of eleven tenants."""

    def of_tenant(number: int) -> str:
        return request("/work", f"Authorization: Bearer {keys[number]}")

    def of_device(number: int, path: str = "/work") -> str:
        return request(path, f"{FINGERPRINT}: bench-fingerprint-{number:08d}")

    return {
        "a tenant": Flood(of_tenant, lambda _: of_tenant(OTHERS)),
        "a device": Flood(of_device, lambda _: of_device(OTHERS)),
        AN_ENDPOINT: Flood(
            lambda number: of_device(number, "/api/v1/me/"),
            lambda number: of_device(OTHERS + number),
            CROWD,
        ),
    }


def rows(place: Place) -> Iterator[Row]:
    """Goodput of the others beside each flood, to without it."""
    keys: list[str] = place.told("bench.tenants", OTHERS + 1)
    others = f"goodput of {OTHERS} others"
    flooded = floods(keys)
    for name, flood in flooded.items():
        beside = f"{others} beside {name} of {TIMES} times their share, to without"
        yield _row(place, beside, flood)
    given_back = f"{others} from a second after they come, their slots lent to {AN_ENDPOINT}"
    yield _row(place, f"{given_back} that is flooded, to without", flooded[AN_ENDPOINT], ALONE_S)


def _row(place: Place, what: str, flood: Flood, late_s: float = 0.0) -> Row:
    rounds = [one_round(place, flood, late_s) for _ in range(1 if place.quick else 3)]
    return Row(
        what,
        "answers/s",
        tuple(each.beside for each in rounds),
        tuple(each.alone for each in rounds),
        at_least(0.95),
        f"capacity {rounds[0].capacity:.0f}/s",
    )


def one_round(place: Place, flood: Flood, late_s: float = 0.0) -> Round:
    """With others that come `late_s` after the flood."""
    per_s = mix.capacity(place)
    others = flood.others(per_s, late_s)
    alone = goodput(place, others, [])
    return Round(alone, goodput(place, others, flood.flood(per_s)), per_s)


def goodput(place: Place, others: Sequence[Stream], flood: Sequence[Stream]) -> float:
    """Of the others, in answers per second, from a second after they come."""
    late_s = max(stream.late_s for stream in others)
    with contestants.ours(place) as door:
        offered = arrivals.offer(
            place,
            door.port,
            [*others, *flood],
            load_s=2 * place.load_s,
            deadline_s=DEADLINE_S,
            lead_s=late_s + arrivals.LEAD_S,
        )
    return sum(offered.outcomes[stream.name].goodput for stream in others)


def request(path: str, header: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n"
