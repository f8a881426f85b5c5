"""Our pool of threads against Django's own doors: the same view, one query, one process each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from bench import doors, saturation
from bench.doors import Door
from bench.place import Place
from bench.rounds import in_turn
from bench.row import Row, at_least
from bench.saturation import Load

CLIENTS = 32
CROWD = 1_000
REQUEST = b"GET /query HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
NOTE = f"{doors.THREADS} threads of Python wherever the door has a fixed number; no middleware"

CROWD_FIGURES: Sequence[tuple[str, str, Callable[[Load], float]]] = (
    ("answered with 200", "%", lambda load: 100 * load.answered(200) / CROWD),
    ("p95 of the answers", "s", lambda load: load.p95_s),
)


def rows(place: Place) -> Iterator[Row]:
    """Each door under steady clients; then ours and the stock one under all at once."""
    with ExitStack() as stack:
        servers = {
            "pool": doors.uvicorn("pooled", place),
            "stock": doors.uvicorn("stock", place),
            "pool on granian": doors.granian("pooled", "asgi", place),
            "wsgi on granian": doors.granian("wsgi", "wsgi", place),
            "wsgi on gunicorn": doors.gunicorn("wsgi", place),
        }
        opened = {name: stack.enter_context(server) for name, server in servers.items()}
        rates = in_turn(
            place.rounds, {name: partial(_per_s, place, door) for name, door in opened.items()}
        )
        crowds = in_turn(
            place.rounds,
            {name: partial(_crowd, place, opened[name]) for name in ("pool", "stock")},
        )
    pool, on_granian = rates["pool"], rates["pool on granian"]
    what, unit = "the pool", "requests/s"
    yield Row(f"{what} to Django's ASGI handler", unit, pool, rates["stock"], at_least(4.5), NOTE)
    yield Row(
        f"{what} to WSGI, both on granian",
        unit,
        on_granian,
        rates["wsgi on granian"],
        at_least(0.95),
    )
    yield Row(f"{what} on uvicorn to WSGI on granian", unit, pool, rates["wsgi on granian"])
    yield Row(f"{what} on uvicorn to WSGI on gunicorn", unit, pool, rates["wsgi on gunicorn"])
    for what, unit, read in CROWD_FIGURES:
        ours, stock = (tuple(map(read, crowds[name])) for name in ("pool", "stock"))
        yield Row(f"{CROWD:,} at once, {what}, to Django's ASGI handler", unit, ours, stock)


def _per_s(place: Place, door: Door) -> float:
    ask = partial(saturation.load, place, door.port, [REQUEST], clients=CLIENTS)
    ask(load_s=place.load_s / 5)
    return ask(load_s=place.load_s).per_second(200)


def _crowd(place: Place, door: Door) -> Load:
    """So many clients that come in one moment and ask once each."""
    return saturation.load(place, door.port, [REQUEST], clients=CROWD, load_s=0)
