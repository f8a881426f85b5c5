"""Slots for background work: leased from the fleet's, few, and none under pressure."""

import logging
import threading
import time

import pytest

from ratelimit import leases
from stabilizer.background import fleet
from stabilizer.background.budget import Budget, Refusal
from stabilizer.ops import totals
from tests.stabilizer.background.conftest import eventually
from tests.stabilizer.background.crowd import crowd

LEASE_S = 1.0


def held(store) -> int:
    return fleet.background_slots(leases.fleet_now(store))


def test_a_slot_is_held_for_as_long_as_the_work_takes(store, requests_of_the_fleet):
    budget = Budget(store)
    with budget.slot() as refusal:
        assert refusal is None
        assert held(store) == 1
        assert leases.fleet_now(store)[budget.process].has == 1
    assert budget.process not in leases.fleet_now(store)


def test_a_slot_is_given_back_when_the_work_fails(store, requests_of_the_fleet):
    budget = Budget(store)
    with pytest.raises(ZeroDivisionError), budget.slot():
        raise ZeroDivisionError
    assert held(store) == 0
    with budget.slot() as refusal:
        assert refusal is None


@pytest.mark.parametrize(
    ("level", "refused"), [(0, None), (1, "pressure"), (2, "pressure"), (3, "pressure")]
)
def test_from_level_one_on_there_is_none(store, requests_of_the_fleet, level, refused):
    budget = Budget(store, pressure=lambda store: level)
    with budget.slot() as refusal:
        assert refusal == refused
    assert budget.process not in leases.fleet_now(store)


def test_a_fleet_that_wants_all_its_slots_leaves_none(store, requests_of_the_fleet):
    requests_of_the_fleet.press()
    eventually(lambda: fleet.pressure(store))
    budget = Budget(store)
    with budget.slot() as refusal:
        assert refusal is Refusal.PRESSURE
    requests_of_the_fleet.calm_down()
    eventually(lambda: not fleet.pressure(store))
    with budget.slot() as refusal:
        assert refusal is None


def test_all_slots_in_use_leave_none_whatever_the_pressure(store, settings):
    settings.GATE_SLOTS = 4
    with crowd(store, lease_s=LEASE_S) as some:
        some.press()
        eventually(lambda: some.lease.share == 4)
        budget = Budget(store, pressure=lambda store: 0, lease_s=LEASE_S)
        with budget.slot() as refusal:
            assert refusal is Refusal.SLOTS
        assert budget.process not in leases.fleet_now(store)


def test_of_many_processes_never_more_than_the_budget_work_at_once(
    store, requests_of_the_fleet, settings
):
    settings.BACKGROUND_SLOTS = 3
    working, most, done = threading.Semaphore(3), 0, []
    inside = [0]
    lock = threading.Lock()

    def work(number: int) -> None:
        budget = Budget(store)
        while True:
            with budget.slot() as refusal:
                if refusal is None:
                    nonlocal most
                    assert working.acquire(blocking=False), "a fourth at once"
                    with lock:
                        inside[0] += 1
                        most = max(most, inside[0])
                    time.sleep(0.02)
                    with lock:
                        inside[0] -= 1
                    working.release()
                    done.append(number)
                    return
            time.sleep(0.001 * (number + 1))

    threads = [threading.Thread(target=work, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == list(range(12))
    assert 1 <= most <= 3


def test_one_process_holds_one_slot(store, requests_of_the_fleet):
    budget = Budget(store)
    with budget.slot() as first, budget.slot() as second:
        assert (first, second) == (None, Refusal.SLOTS)
        assert held(store) == 1


def test_a_slot_is_renewed_while_the_work_takes_longer_than_a_lease(store):
    with crowd(store, lease_s=LEASE_S) as some:
        eventually(lambda: some.lease.share == some.wants)
        with Budget(store, lease_s=LEASE_S).slot() as refusal:
            assert refusal is None
            looks_until = time.monotonic() + 3 * LEASE_S
            while time.monotonic() < looks_until:
                assert held(store) == 1
                time.sleep(LEASE_S / 10)


def test_where_nobody_else_holds_a_lease_the_end_of_an_outage_is_waited_for(store):
    began = time.monotonic()
    with Budget(store, lease_s=LEASE_S).slot() as refusal:
        assert refusal is None
    assert time.monotonic() - began >= LEASE_S


def test_where_others_hold_leases_nobody_waits_for_the_end_of_an_outage(store):
    with crowd(store) as some:
        eventually(lambda: some.lease.recovering_s)
        began = time.monotonic()
        with Budget(store).slot() as refusal:
            assert refusal is Refusal.SLOTS
        assert time.monotonic() - began < 1


def test_whatever_cannot_be_read_is_a_refusal_and_no_error(store, redis_client, caplog):
    redis_client.hset(totals.WORDS, "web-1", "of another release")
    with Budget(store).slot() as refusal:
        assert refusal is Refusal.AWAY
    assert "nobody can say whether there is a slot" in caplog.text


def test_without_redis_there_is_none(away):
    with Budget(away).slot() as refusal:
        assert refusal is Refusal.AWAY


def test_it_says_when_it_begins_to_yield_and_when_it_goes_on(store, requests_of_the_fleet, caplog):
    caplog.set_level(logging.INFO, logger="stabilizer.background.budget")
    levels = iter((1, 1, 0, 0, 2))
    budget = Budget(store, pressure=lambda store: next(levels))
    for _ in range(5):
        with budget.slot():
            pass
    assert [line.getMessage() for line in caplog.records] == [
        "background work yields: pressure",
        "background work goes on",
        "background work yields: pressure",
    ]
