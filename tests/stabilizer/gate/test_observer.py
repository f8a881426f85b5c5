"""What the gate counts: exact under threads, and of every request exactly one outcome."""

import asyncio
import threading
from bisect import bisect_left

import pytest

from stabilizer.gate import policy
from stabilizer.gate.observer import BOUNDS, Observer
from tests.stabilizer.gate.door import Connection, create

STATUS = policy.DEFAULTS["pairing.status"]
CREDENTIALS = policy.DEFAULTS["pairing.credentials"]


def test_an_answer_is_counted_with_its_latency_and_its_wait():
    observer = Observer()
    observer.ended(CREDENTIALS, 200, duration_s=0.2, waited_s=0.1)
    observer.ended(CREDENTIALS, 503, duration_s=0.2, waited_s=0)
    assert observer.take() == {
        ("requests", "pairing.credentials", "answered"): 1,
        ("requests", "pairing.credentials", "failed"): 1,
        ("duration", "critical", BOUNDS.index(0.2)): 2,
        ("duration_us", "critical"): 400_000,
        ("wait", BOUNDS.index(0.1)): 1,
        ("wait", 0): 1,
        ("wait_us",): 100_000,
    }


def test_a_push_and_a_connection_that_was_refused_are_counted():
    observer = Observer()
    observer.pushed(0.04)
    observer.pushed(0.05)
    observer.turned_away("at_capacity")
    assert observer.take() == {
        ("push", BOUNDS.index(0.04)): 1,
        ("push", BOUNDS.index(0.05)): 1,
        ("push_us",): 90_000,
        ("turned_away", "at_capacity"): 1,
    }


def test_a_refusal_counts_once_however_many_reasons_it_has():
    observer = Observer()
    observer.refused(STATUS, ["udid", "network"])
    observer.refused(STATUS, ["slots"], waited_s=1.5)
    counts = observer.take()
    assert counts["requests", "pairing.status", "refused"] == 2
    assert counts["refusals", "pairing.status", "udid"] == 1
    assert counts["refusals", "pairing.status", "network"] == 1
    assert counts["wait_us",] == 1_500_000


@pytest.mark.parametrize("seconds", [0, 0.0001, 0.00011, 0.2, 0.2000001, 80, 81, 1e6])
def test_a_bucket_holds_what_is_at_most_its_bound(seconds):
    bucket = bisect_left(BOUNDS, seconds)
    assert bucket == len(BOUNDS) or seconds <= BOUNDS[bucket]
    assert bucket == 0 or seconds > BOUNDS[bucket - 1]


def test_nothing_is_lost_between_threads_that_count_and_one_that_takes():
    observer, taken, stop = Observer(), [], threading.Event()

    def count() -> None:
        for _ in range(5_000):
            observer.arrived()
            observer.ended(STATUS, 200, 0.01, 0)
            observer.refused(STATUS, ["slots"])

    def take() -> None:
        while not stop.is_set():
            taken.append(observer.take())

    counting = [threading.Thread(target=count) for _ in range(4)]
    taking = threading.Thread(target=take)
    for thread in (taking, *counting):
        thread.start()
    for thread in counting:
        thread.join()
    stop.set()
    taking.join()
    taken.append(observer.take())
    for key in (
        ("arrived",),
        ("requests", "pairing.status", "answered"),
        ("refusals", "pairing.status", "slots"),
        ("duration", "normal", bisect_left(BOUNDS, 0.01)),
    ):
        assert sum(each.get(key, 0) for each in taken) == 20_000, key


async def test_every_request_at_the_gate_has_exactly_one_outcome(gates, app, door, known):
    gate = door.app
    app.open.clear()
    waiting = [asyncio.create_task(door.knock(path=f"/{n}")) for n in range(40)]
    while app.inside < 14:
        await asyncio.sleep(0.01)
    gone = Connection([{"type": "http.request"}])
    leaving = asyncio.create_task(door.knock(connection=gone))
    late = await door.knock(headers={"x-deadline-ms": "1"})
    gone.leave()
    await leaving
    app.open.set()
    await asyncio.gather(*waiting)
    app.status = 500
    await door.knock()
    app.status = 200
    limited = [await create(door, udid="U") for _ in range(8)]
    counts = gate.control.observer.take()
    outcomes: dict[str, int] = {}
    for key, number in counts.items():
        if key[0] == "requests":
            outcomes[str(key[2])] = outcomes.get(str(key[2]), 0) + number
    refused = sum(reply.status in (429, 503) for reply in (late, *limited))
    assert outcomes == {"answered": 45, "failed": 1, "left": 1, "refused": refused}
    assert counts["arrived",] == sum(outcomes.values()) == 51
    assert counts["refusals", "default", "slots"] == 1
    assert counts["refusals", "pairing.create", "udid"] == 3
