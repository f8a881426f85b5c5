"""How much is on the fleet, told from what its processes report."""

import json
import math

import pytest

from ratelimit import leases, pressures
from ratelimit.store import StoreAway
from stabilizer.background import fleet
from stabilizer.background.fleet import CALM, PRESSED
from stabilizer.gate.ticket import Ticket
from stabilizer.ops import totals
from tests.stabilizer.ops import conftest as ops

collectors, quiet_depths = ops.collectors, ops.quiet_depths
OPEN_TO_ALL = 450


@pytest.fixture
def demand(redis_client):
    def report(process: str, *, has: int = 0, wants: int) -> None:
        redis_client.hset(leases.KEYS[1], process, f"{has} {wants} 0")

    return report


@pytest.fixture
def said(redis_client):
    """A process of the fleet says how many wait in it, so many seconds ago."""

    def say(process: str, waiting: int, ago_s: float = 0) -> None:
        seconds, microseconds = redis_client.time()
        at_ms = seconds * 1000 + microseconds // 1000 - int(ago_s * 1000)
        word = json.dumps({"role": "web", "waiting": waiting})
        redis_client.hset(totals.WORDS, process, f"1 {at_ms} {word}")

    return say


def test_an_empty_redis_tells_of_no_pressure(store):
    assert fleet.pressure(store) == CALM


def test_a_request_that_waits_for_a_slot_is_pressure(store, said):
    said("web-1", 0)
    said("web-2", 0)
    assert fleet.pressure(store) == CALM
    said("web-2", 1)
    assert fleet.pressure(store) == PRESSED


def test_the_pressure_that_a_gate_found_of_itself_is_the_fleets(store):
    pressures.tell_now(store, "web-1", 2)
    assert fleet.pressure(store) == 2


async def test_what_a_gate_reports_of_its_queue_is_understood(store, collectors):
    collector = collectors(store)
    slots = collector._control.slots
    in_slots = [Ticket("critical", deadline=math.inf) for _ in range(slots.limit)]
    assert all(slots.take(ticket) for ticket in in_slots)
    await collector.tick()
    assert fleet.pressure(store) == CALM
    waits = Ticket("critical", deadline=math.inf)
    assert slots.join(waits)
    await collector.tick()
    assert fleet.pressure(store) == PRESSED
    slots.leave(waits)
    await collector.tick()
    assert fleet.pressure(store) == CALM


def test_nobody_waits_in_a_process_that_says_nothing_any_more(store, said):
    said("web-1", 7, ago_s=2.5)
    assert fleet.pressure(store) == PRESSED
    said("web-1", 7, ago_s=3)
    assert fleet.pressure(store) == CALM


def test_a_fleet_that_wants_all_slots_is_pressed(store, demand):
    demand("web-1", wants=OPEN_TO_ALL - 8)
    demand("web-2", wants=7)
    assert fleet.pressure(store) == CALM
    demand("web-2", wants=8)
    assert fleet.pressure(store) == PRESSED


def test_background_work_does_not_yield_to_itself(store, demand):
    demand("background/worker:1:a", has=1, wants=OPEN_TO_ALL)
    assert fleet.pressure(store) == CALM


def test_the_slots_of_background_work_are_told_apart(store, demand):
    demand("web-1", has=8, wants=8)
    demand("background/worker:1:a", has=1, wants=1)
    demand("background/worker:2:a", has=1, wants=1)
    demand("background/worker:3:a", has=0, wants=1)
    assert fleet.background_slots(leases.fleet_now(store)) == 2


def test_without_redis_nobody_knows(away):
    with pytest.raises(StoreAway):
        fleet.pressure(away)
