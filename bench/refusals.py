"""Refusals per second and core, over HTTP: ours, the peers', and what the bare server could do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from bench import doors, saturation
from bench.admission import PEERS
from bench.devices import FINGERPRINT, UDID, Device
from bench.doors import Door
from bench.place import Place
from bench.rounds import in_turn
from bench.row import Row, at_least

CLIENTS = 64
#: More than any server refuses in that time: each of these devices is new to its memory.
STRANGERS_PER_S = 15_000
#: Long enough for the slowest to answer each device once more than it may ask.
WARM_S = 1.0
UNIT = "answers per CPU s"
OURS = {"memory": ("refused from memory", 0.6), "redis": ("refused by Redis", 0.35)}


def rows(place: Place) -> Iterator[Row]:
    """Devices over their limits, whom this process knows, or of whom only Redis does."""
    with ExitStack() as stack:
        bare = stack.enter_context(doors.uvicorn("nothing", place))
        words = stack.enter_context(doors.uvicorn("words", place))
        gate = stack.enter_context(doors.uvicorn("gate", place))
        wsgi = stack.enter_context(doors.granian("wsgi", "wsgi", place))
        loads = Loads(place)
        known = loads.strangers(CLIENTS)
        measures: dict[str, Callable[[], float]] = {
            "bare": partial(loads.per_cpu_s, bare, known, 200),
            "words": partial(loads.per_cpu_s, words, known, 429),
            "memory": partial(loads.per_cpu_s, gate, known, 429),
            "redis": lambda: loads.per_cpu_s(gate, loads.strangers(), 429),
        }
        for name in PEERS:
            measures[name] = partial(loads.per_cpu_s, wsgi, _throttled(name), 429)
        taken = in_turn(place.rounds, measures)
    for kind, (what, bound) in OURS.items():
        to_bare = f"{what}, to the bare server's empty 200"
        yield Row(to_bare, UNIT, taken[kind], taken["bare"], at_least(bound), loads.note)
        to_words = f"{what}, to the bare server saying the same"
        yield Row(to_words, UNIT, taken[kind], taken["words"])
        for name, title in PEERS.items():
            yield Row(f"{what}, to {title}", UNIT, taken[kind], taken[name])


class Loads:
    """Loads servers to saturation, and remembers what that cost."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._first = 0
        self._share = 0.0

    @property
    def note(self) -> str:
        return (
            f"{CLIENTS} connections; the load took at most {self._share:.0%} of a core; the peers "
            "run on granian, where they do best; the two packages stop at the first limit"
        )

    def per_cpu_s(self, door: Door, requests: Sequence[bytes], status: int) -> float:
        """Answers with `status` per second of processor time that the server used."""
        ask = partial(saturation.load, self._place, door.port, clients=CLIENTS)
        # Who regained something since the last round has to be refused anew.
        ask(requests[:CLIENTS], load_s=WARM_S)
        before_s = door.cpu_s
        load = ask(requests, load_s=self._place.load_s)
        self._share = max(self._share, load.cpu_share)
        return load.answered(status) / (door.cpu_s - before_s)

    def strangers(self, count: int = 0) -> list[bytes]:
        """Requests of devices that have used up their limits elsewhere, each other ones."""
        count = count or round(STRANGERS_PER_S * self._place.load_s)
        given = {"first": self._first, "count": count}
        self._place.told("bench.exhaust", given)
        self._first += count
        return [Device(number).request() for number in range(self._first - count, self._first)]


def _throttled(name: str) -> list[bytes]:
    """Requests of the same devices to a peer, which reads its keys from headers."""
    return [_headed(f"/{name}/limited", Device(number)) for number in range(CLIENTS)]


def _headed(path: str, device: Device) -> bytes:
    headers = {
        "host": "127.0.0.1",
        UDID: device.udid,
        FINGERPRINT: device.fingerprint,
        "x-forwarded-for": device.address,
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()
