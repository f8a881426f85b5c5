"""Clients that hang up before their turn has come: how much is done for nobody."""

from collections.abc import Iterator
from typing import NamedTuple

from bench import arrivals, doors, mix
from bench.arrivals import Stream
from bench.place import Place
from bench.row import Row, at_most
from bench.slowed import timings

#: Nobody tells us how long he will wait; it is less than the queue's longest wait of 1.5 s.
PATIENCE_S = 0.3
TIMES = 5
REQUEST = "GET /work HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


UNIT = "% of what was done"


class Shares(NamedTuple):
    """Of all that was done, in percent."""

    #: Begun when the client had left already.
    begun_in_vain: float
    #: What nobody waited for in the end: those, and who left while he was being served.
    unheard: float


def rows(place: Place) -> Iterator[Row]:
    """Of what was done, the part whose client had left."""
    rounds = [shares(place) for _ in range(1 if place.quick else 3)]
    what = f"{TIMES} times the capacity, clients that hang up after {PATIENCE_S:g} s"
    begun, unheard = zip(*rounds, strict=True)
    yield Row(f"{what}: begun for one who had left", UNIT, begun, (), at_most(1))
    yield Row(f"{what}: of use to nobody in the end", UNIT, unheard)


def shares(place: Place) -> Shares:
    rate = TIMES * mix.capacity(place)
    with doors.uvicorn("timed", place) as door:
        timings(door)
        stream = Stream("all", [REQUEST], rate)
        offered = arrivals.offer(
            place, door.port, [stream], load_s=2 * place.load_s, deadline_s=PATIENCE_S, lead_s=0
        )
        waited_s = timings(door).waited_s
    served = offered.outcomes["all"].answers.get("200", 0)
    late = sum(each > PATIENCE_S for each in waited_s)
    return Shares(100 * late / len(waited_s), 100 * (1 - served / len(waited_s)))
