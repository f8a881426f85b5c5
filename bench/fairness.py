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
#: One that says who it is in this header, given its number.
Sign = Callable[[int], str]


@dataclass(frozen=True)
class Round:
    """Goodput of the others, in answers per second."""

    alone: float
    beside: float
    capacity: float


def rows(place: Place) -> Iterator[Row]:
    """Goodput of the others beside a tenant, and beside a device, to without it."""
    keys: list[str] = place.told("bench.tenants", OTHERS + 1)
    sorts: dict[str, Sign] = {
        "tenant": lambda number: f"Authorization: Bearer {keys[number]}",
        "device": lambda number: f"{FINGERPRINT}: bench-fingerprint-{number:08d}",
    }
    for sort, sign in sorts.items():
        rounds = [one_round(place, sign) for _ in range(1 if place.quick else 3)]
        yield Row(
            f"goodput of {OTHERS} others beside a {sort} of {TIMES} times its share, to without",
            "answers/s",
            tuple(each.beside for each in rounds),
            tuple(each.alone for each in rounds),
            at_least(0.95),
            f"capacity {rounds[0].capacity:.0f}/s",
        )


def one_round(place: Place, sign: Sign) -> Round:
    per_s = mix.capacity(place)
    others = [_stream(sign(number), SHARE * per_s) for number in range(OTHERS)]
    flood = _stream(sign(OTHERS), TIMES * SHARE * per_s)
    return Round(goodput(place, others), goodput(place, [*others, flood], but=flood), per_s)


def goodput(place: Place, streams: Sequence[Stream], but: Stream | None = None) -> float:
    """Of all streams but one, in answers per second."""
    with contestants.ours(place) as door:
        offered = arrivals.offer(
            place, door.port, streams, load_s=2 * place.load_s, deadline_s=DEADLINE_S
        )
    counted = [stream.name for stream in streams if stream is not but]
    return sum(offered.outcomes[name].goodput for name in counted)


def _stream(header: str, rate: float) -> Stream:
    return Stream(header, f"GET /work HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n", rate)
