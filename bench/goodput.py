"""Goodput beyond capacity: how many are served in time, of clients that wait for nobody's answer.

Behind every door is the same view (one query and 5 ms of processor time), four threads of Python,
and one process. A queue is tuned to the clients' patience wherever there is one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import arrivals, doors, picture, proxies, saturation
from bench.arrivals import Outcome
from bench.doors import Door
from bench.place import Place
from bench.row import Row, at_least
from dev.environment import ROOT

REQUEST = b"GET /work HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
#: An answer that comes later is worth nothing to its client.
DEADLINE_S = 1.0
#: The longest wait in a queue, ours and HAProxy's.
QUEUE_MS = 500
MULTIPLES = (1, 2, 5, 10)
MOST = MULTIPLES[-1]
#: Clients of the closed loop that measures the capacity: as many as the gate lets through.
CLIENTS = 8
PICTURE = ROOT / ".run" / "goodput.png"
UNIT = f"answers in {DEADLINE_S:g} s, per s"
OURS = "gate and pool"

Start = Callable[[Place], AbstractContextManager[Door]]


def ours(place: Place) -> AbstractContextManager[Door]:
    return doors.uvicorn("gated", place, QUEUE_WAIT_MS=str(QUEUE_MS))


def unprotected(place: Place) -> AbstractContextManager[Door]:
    return doors.uvicorn("stock", place)


@contextmanager
def behind_haproxy(place: Place) -> Iterator[Door]:
    with (
        doors.granian("wsgi", "wsgi", place) as wsgi,
        proxies.haproxy(wsgi, place, queue_ms=QUEUE_MS) as door,
    ):
        yield door


@contextmanager
def behind_envoy(place: Place) -> Iterator[Door]:
    with doors.granian("wsgi", "wsgi", place) as wsgi, proxies.envoy(wsgi, place) as door:
        yield door


CONTESTANTS: Mapping[str, Start] = {
    OURS: ours,
    "HAProxy maxconn, WSGI": behind_haproxy,
    "Envoy adaptive concurrency, WSGI": behind_envoy,
    "Django's ASGI handler alone": unprotected,
}


@dataclass(frozen=True)
class Round:
    """All contestants at all multiples of the capacity that our own door had just before."""

    capacity: float
    outcomes: Mapping[tuple[str, int], Outcome]

    def goodput(self, name: str, multiple: int) -> float:
        return self.outcomes[name, multiple].goodput

    @property
    def peak(self) -> float:
        return max(each.goodput for (name, _), each in self.outcomes.items() if name == OURS)


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
    outcomes = {
        (name, multiple): outcome(place, start, multiple * per_s)
        for multiple in multiples
        for name, start in CONTESTANTS.items()
    }
    return Round(per_s, outcomes)


def capacity(place: Place) -> float:
    """Requests per second of our own door with as many clients as it lets through."""
    with ours(place) as door:
        load = partial(saturation.load, place, door.port, [REQUEST], clients=CLIENTS)
        load(load_s=place.load_s / 2)
        return load(load_s=place.load_s).per_second(200)


def outcome(place: Place, start: Start, rate: float) -> Outcome:
    """What a contestant makes of `rate` arrivals a second. It starts anew: no backlog is left."""
    with start(place) as door:
        saturation.load(place, door.port, [REQUEST], clients=CLIENTS, load_s=place.load_s / 4)
        return arrivals.offer(
            place, door.port, REQUEST, rate=rate, load_s=place.load_s, deadline_s=DEADLINE_S
        )


def _medians(rounds: Sequence[Round]) -> dict[str, dict[int, float]]:
    medians: dict[str, dict[int, float]] = {}
    for name, multiple in rounds[0].outcomes:
        goodputs = [each.goodput(name, multiple) for each in rounds]
        medians.setdefault(name, {})[multiple] = median(goodputs)
    return medians


def _note(rounds: Sequence[Round]) -> str:
    outcomes = [outcome for each in rounds for outcome in each.outcomes.values()]
    share = max(each.cpu_share for each in outcomes)
    lag_ms = max(each.lag_s for each in outcomes) * 1000
    capacity = median(each.capacity for each in rounds)
    return (
        f"capacity {capacity:.0f}/s in a closed loop; the load took at most {share:.0%} of a core "
        f"and was {lag_ms:.0f} ms late at worst; {PICTURE.name} shows all multiples"
    )
