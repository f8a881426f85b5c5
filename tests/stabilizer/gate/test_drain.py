from stabilizer.gate.drain import NEWEST, WINDOW_S, DrainRate
from tests.hand_clock import HandClock


def grant(rate: DrainRate, clock: HandClock, count: int) -> None:
    """One window in which `count` are granted."""
    clock.advance(WINDOW_S)
    rate.count(0)
    rate.count(count)


def test_a_queue_is_judged_by_its_last_window_and_the_capacity_by_the_mean_of_several():
    clock = HandClock()
    rate = DrainRate(clock)
    assert rate.within(1) == float("inf")
    assert rate.mean_per_s == 0
    rate.count(100)
    grant(rate, clock, 300)
    assert (rate.within(1), rate.mean_per_s) == (200, 200)
    grant(rate, clock, 0)
    assert rate.within(1) == 600
    assert rate.mean_per_s == 200 + NEWEST * 400


def test_a_new_queue_is_not_judged_by_the_one_before_but_the_capacity_stays():
    clock = HandClock()
    rate = DrainRate(clock)
    rate.count(100)
    clock.advance(WINDOW_S)
    assert rate.within(1) == 200
    rate.begin()
    assert rate.within(1) == float("inf")
    assert rate.mean_per_s == 200
