"""Clients that hang up before their turn has come: how much is done for nobody."""

from collections.abc import Iterator

from bench import arrivals, doors, mix
from bench.arrivals import Stream
from bench.place import Place
from bench.row import Row, at_most
from bench.slowed import timings

#: Nobody tells us how long he will wait; it is less than the queue's longest wait of 1.5 s.
PATIENCE_S = 0.3
TIMES = 5
REQUEST = "GET /work HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def rows(place: Place) -> Iterator[Row]:
    """Of what was done, the part whose client had left."""
    shares = tuple(share(place) for _ in range(1 if place.quick else 3))
    what = f"{TIMES} times the capacity, clients that hang up after {PATIENCE_S:g} s"
    yield Row(f"{what}: done for nobody", "% of what was done", shares, (), at_most(1))


def share(place: Place) -> float:
    """In percent."""
    rate = TIMES * mix.capacity(place)
    with doors.uvicorn("timed", place) as door:
        timings(door)
        stream = Stream("all", [REQUEST], rate)
        offered = arrivals.offer(
            place, door.port, [stream], load_s=2 * place.load_s, deadline_s=PATIENCE_S, lead_s=0
        )
        done = len(timings(door))
    return 100 * (1 - offered.outcomes["all"].answers.get("200", 0) / done)
