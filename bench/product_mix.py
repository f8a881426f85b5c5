"""More than can be served of the product's own calls: what must not fail is served first.

One call in five collects credentials or acknowledges them, half ask for a code, three in ten list
devices. What is critical was made cheap, and a list is not: at five times the capacity the critical
calls alone take about half of a process's time, where equal calls (`bench.mix`) take all of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench import arrivals, doors, mix, saturation
from bench.arrivals import Offered, Stream
from bench.contestants import DEADLINE_S, QUEUE_MS
from bench.doors import Door
from bench.goodput import CLIENTS
from bench.place import Place
from bench.row import Row, at_least, at_most

SHARES = {sort: share for sort, (share, _) in mix.MIX.items()}
#: Of an operator, whose list shows a page of 50.
DEVICES = 200
UNLOADED = 0.2
MULTIPLES = (1, 2, 5)
#: A process answers no more of them, whatever machine it runs on; the calls prepared are enough.
FASTEST = 600
Calls = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Run:
    """One process: first it is asked for little, then for a multiple of what it can do."""

    capacity: float
    unloaded: Offered
    loaded: Offered

    def success(self, sort: str) -> float:
        return 100 * self.loaded.outcomes[sort].success


Round = Mapping[float, Run]


def rows(place: Place) -> Iterator[Row]:
    """How each sort fares, and how long a critical call takes."""
    multiples = MULTIPLES[:1] if place.quick else MULTIPLES
    rounds: list[Round] = [
        {multiple: run(place, multiple) for multiple in multiples}
        for _ in range(1 if place.quick else 3)
    ]
    for multiple in multiples:
        for sort in SHARES:
            success = tuple(each[multiple].success(sort) for each in rounds)
            goal = at_least(99.9) if sort == "critical" else None
            what = f"{sort} calls at {multiple} times the capacity: answered"
            yield Row(what, "%", success, (), goal)
    for multiple in multiples:
        runs = [each[multiple] for each in rounds]
        loaded = tuple(_p95_ms(each.loaded) for each in runs)
        unloaded = tuple(_p95_ms(each.unloaded) for each in runs)
        what = f"p95 of critical calls at {multiple} times the capacity, to unloaded"
        yield Row(what, "ms", loaded, unloaded, at_most(2), _note(runs))


def run(place: Place, multiple: float) -> Run:
    """The capacity just now, and what a process begun anew makes of it, for long enough.

    The load comes uncounted for a while first: shedding begins when too many have come for five
    seconds, and goes step by step.
    """
    per_s = capacity(place)
    with door(place) as ours:
        unloaded = offered(place, ours, UNLOADED * per_s, load_s=6 * place.load_s)
        loaded = offered(
            place, ours, multiple * per_s, load_s=2 * place.load_s, lead_s=3 * place.load_s
        )
    return Run(per_s, unloaded, loaded)


def capacity(place: Place) -> float:
    """Calls of the mix per second, with as many clients as keep the process busy."""
    load_s = place.load_s
    made = calls(place, round(2 * load_s * FASTEST))
    with door(place) as ours:
        requests = [request.encode() for request in _mixed(made)]
        half = len(requests) // 2
        saturation.load(place, ours.port, requests[:half], clients=CLIENTS, load_s=load_s / 2)
        load = saturation.load(place, ours.port, requests[half:], clients=CLIENTS, load_s=load_s)
    return sum(load.per_second(status) for status in arrivals.SERVED)


def offered(
    place: Place, ours: Door, per_s: float, *, load_s: float, lead_s: float = arrivals.LEAD_S
) -> Offered:
    """What the gate makes of so many calls a second, after `lead_s` uncounted."""
    made = calls(place, round(per_s * (load_s + lead_s + arrivals.LEAD_S)))
    streams = [Stream(sort, made[sort], share * per_s) for sort, share in SHARES.items()]
    return arrivals.offer(
        place, ours.port, streams, load_s=load_s, deadline_s=DEADLINE_S, lead_s=lead_s
    )


def door(place: Place) -> AbstractContextManager[Door]:
    """The product behind its gate, in one process."""
    return doors.uvicorn(
        "gated",
        place,
        DJANGO_SETTINGS_MODULE="stabilizer.settings",
        QUEUE_WAIT_MS=str(QUEUE_MS),
    )


def calls(place: Place, count: int) -> Calls:
    """So many new calls in all, by their sort."""
    counts = {sort: round(share * count) for sort, share in SHARES.items()}
    given = {"key": place.env["API_KEY"], "devices": DEVICES, **counts}
    made: Calls = place.told("bench.calls", given)
    return made


def _mixed(made: Calls) -> Iterator[str]:
    """Ten by ten, as many of each as the mix has."""
    tens = {sort: round(10 * share) for sort, share in SHARES.items()}
    for ten in range(len(made["critical"]) // tens["critical"]):
        for sort, count in tens.items():
            of_sort = made[sort]
            yield from (of_sort[(ten * count + n) % len(of_sort)] for n in range(count))


def _p95_ms(offered: Offered) -> float:
    return 1000 * offered.outcomes["critical"].p95_s


def _note(runs: Sequence[Run]) -> str:
    share = max(each.loaded.cpu_share for each in runs)
    capacities = ", ".join(f"{each.capacity:.0f}" for each in runs)
    return f"capacity {capacities}/s; the load took at most {share:.0%} of a core"
