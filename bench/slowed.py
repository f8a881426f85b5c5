"""A database that becomes ten times slower, and fast again: what the adaptive limit makes of it.

Against limits that a hand has tuned to the slow database, which nobody knows beforehand.
"""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from bench import doors, saturation
from bench.doors import Door
from bench.place import MeasureFailed, Place
from bench.row import Row, at_least, at_most
from dev import ports
from dev.environment import ROOT

#: Statements that the database does at once, and what each takes; and ten times slower.
AT_ONCE, FAST_S, SLOW_S = 2, 0.002, 0.02
CLIENTS = 64
#: Ordinary requests at once, by hand.
HANDS = (1, 2, 3, 4, 7)
REQUEST = b"GET /query HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PATIENCE_S = 10


@dataclass(frozen=True)
class Phase:
    """Answers per second, and what a request took once it had its slot."""

    goodput: float
    p50_s: float


class Database:
    """The slow one, for as long as the block lasts."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.port = port

    def take(self, seconds: float) -> None:
        """From now on each statement takes so long."""
        self._say({"at_once": AT_ONCE, "takes_s": seconds})

    def _say(self, order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()


@contextmanager
def database(place: Place) -> Iterator[Database]:
    """Before the one of `place`."""
    command = [sys.executable, "-m", "bench.slow_database"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        slow = Database(process, 0)
        slow._say(urlsplit(place.env["DATABASE_URL"]).port)
        slow.port = int(process.stdout.readline() or 0)
        if not slow.port:
            raise MeasureFailed("bench.slow_database has not started")
        try:
            yield slow
        finally:
            process.stdin.close()


def rows(place: Place) -> Iterator[Row]:
    """Latency and goodput while it is slow, and how soon all is as before."""
    rounds = 1 if place.quick else 3
    ours = [trial(place, None) for _ in range(rounds)]
    hands = [best_hand(place) for _ in range(rounds)]
    what = f"{SLOW_S / FAST_S:.0f} times slower database"
    yield Row(
        f"{what}: time with a slot, to one request alone",
        "ms",
        tuple(1000 * each["slow"].p50_s for each in ours),
        tuple(1000 * each["alone"].p50_s for each in ours),
        at_most(3),
        f"{AT_ONCE} statements at once, {FAST_S * 1000:g} ms each, then {SLOW_S * 1000:g} ms",
    )
    yield Row(
        f"{what}: goodput, to the best limit by hand",
        "answers/s",
        tuple(each["slow"].goodput for each in ours),
        tuple(best for _, best in hands),
        at_least(0.9),
        f"by hand, best: {', '.join(str(hand) for hand, _ in hands)} at once",
    )
    yield Row(
        f"{what}: goodput within 10 s of its return, to before",
        "answers/s",
        tuple(each["after"].goodput for each in ours),
        tuple(each["before"].goodput for each in ours),
        at_least(0.9),
    )


def best_hand(place: Place) -> tuple[int, float]:
    """The fixed limit that serves the slow database best, and what it serves."""
    served = {hand: trial(place, hand)["slow"].goodput for hand in HANDS}
    best = max(served, key=served.__getitem__)
    return best, served[best]


def trial(place: Place, hand: int | None) -> Mapping[str, Phase]:
    """Fast, slow, and fast again; with `hand` requests at once, or as many as the gate finds."""
    longer_s = 2 * place.load_s
    with database(place) as slow:
        url = urlsplit(place.env["DATABASE_URL"])
        away = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{slow.port}"))
        env = {"DATABASE_URL": away.geturl(), "BENCH_AT_ONCE": str(hand or "")}
        slow.take(FAST_S)
        with doors.uvicorn("timed", place, **env) as door:
            load = partial(phase, place, door)
            load(longer_s / 2)
            before = load(longer_s)
            slow.take(SLOW_S)
            alone = phase(place, door, place.load_s, clients=1)
            load(longer_s)
            slowed = load(longer_s)
            slow.take(FAST_S)
            load(longer_s / 2)
            return {"before": before, "alone": alone, "slow": slowed, "after": load(longer_s / 2)}


def phase(place: Place, door: Door, load_s: float, clients: int = CLIENTS) -> Phase:
    """What so many clients get in so many seconds."""
    timings(door)
    served = saturation.load(place, door.port, [REQUEST], clients=clients, load_s=load_s)
    took_s = sorted(timings(door).took_s)
    return Phase(served.per_second(200), took_s[len(took_s) // 2] if took_s else 0.0)


class Timings(NamedTuple):
    """Of all requests since the last look, in seconds."""

    #: How long each had a slot.
    took_s: list[float]
    #: How long after its arrival each view began.
    waited_s: list[float]


def timings(door: Door) -> Timings:
    """What the server of `bench.apps:timed` has seen since the last time."""
    with closing(http.client.HTTPConnection(ports.LOOPBACK, door.port, PATIENCE_S)) as connection:
        connection.request("GET", "/timings")
        return Timings(**json.loads(connection.getresponse().read()))
