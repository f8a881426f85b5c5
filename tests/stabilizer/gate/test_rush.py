"""A queue that goes on standing: who is served, how soon, and at whose cost."""

from collections.abc import Callable

import pytest

from tests.stabilizer.gate.rush import SERVICE_S, THREADS, WAIT_S, Rush, Sort

CAPACITY = THREADS / SERVICE_S


@pytest.mark.parametrize("times", [1.1, 2, 5])
def test_who_is_served_waited_shortly_and_the_others_heard_so_at_once(times: float):
    seen = Rush(Sort("all", times * CAPACITY, patience_s=(0.25, 3))).seen["all"]
    assert seen.served / 30 > 0.95 * CAPACITY
    assert seen.wait_s(0.5) < 0.25
    assert max(seen.waits_s) < WAIT_S
    assert seen.late < 0.05 * seen.came
    assert seen.wasted < 0.05 * seen.served


def test_a_short_rush_is_waited_out():
    seen = Rush(Sort("all", 2 * CAPACITY), duration_s=1).seen["all"]
    assert seen.refused + seen.late < 0.05 * seen.came


@pytest.mark.parametrize(
    ("others", "flood"),
    [
        (lambda number: (str(number % 10), ""), lambda number: ("flood", str(number))),
        (lambda number: ("t", str(number % 10)), lambda number: ("t", "flood")),
    ],
    ids=["tenant", "device"],
)
def test_one_that_comes_a_hundred_times_as_often_leaves_the_others_what_they_had(
    others: Callable[[int], tuple[str, str]], flood: Callable[[int], tuple[str, str]]
):
    share = 0.04 * CAPACITY
    quiet, loud = Sort("others", 10 * share, names=others), Sort("flood", 100 * share, names=flood)
    seen = Rush(quiet, loud).seen
    assert seen["others"].served > 0.95 * seen["others"].came
    assert seen["flood"].served > 0.5 * 30 * CAPACITY


def test_a_flood_on_one_endpoint_leaves_another_its_budget():
    flood = Sort("flood", 5 * CAPACITY, budget="devices")
    seen = Rush(Sort("pairing", 0.5 * CAPACITY), flood).seen
    assert seen["pairing"].served > 0.95 * seen["pairing"].came
    assert seen["pairing"].wait_s(0.5) < 0.1
    assert seen["flood"].served > 0.4 * 30 * CAPACITY
