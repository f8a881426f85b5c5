"""How long tasks rest that were put back: alone, and many together."""

import heapq

import pytest

from stabilizer import celery
from stabilizer.background.pace import APART_S, LONGEST_S, USUAL_S, Pace
from tests.hand_clock import HandClock


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


def test_one_that_is_alone_rests_twice_as_long_each_time_and_never_longer_than_usual(hand):
    for yields in range(100):
        longest_s = min(USUAL_S, 2.0**yields)
        rests = [Pace(hand).rest_s(yields) for _ in range(200)]
        assert longest_s / 2 <= min(rests) < max(rests) <= longest_s


def test_many_that_are_put_back_at_once_return_one_after_the_other(hand):
    pace = Pace(hand)
    returns = sorted(pace.rest_s(0) for _ in range(400))
    for second in range(1, 40):
        assert sum(second < rest <= second + 1 for rest in returns) <= 1 / APART_S + 1
    assert returns[-1] == pytest.approx(400 * APART_S)


def test_however_long_the_pressure_lasts_they_return_no_more_often(hand):
    """200 tasks, each put back whenever it returns, for five minutes."""
    pace, began, tries = Pace(hand), hand.now, 0
    resting = [(hand.now, 0)] * 200
    while hand.now < began + 300:
        hand.now, yields = heapq.heappop(resting)
        heapq.heappush(resting, (hand.now + pace.rest_s(yields), yields + 1))
        tries += 1
    assert tries <= 200 + 1.2 * 300 / APART_S
    # When it is over, all of them have their turn within this.
    assert max(resting)[0] - hand.now <= 1.2 * 200 * APART_S


def test_whoever_rests_when_all_are_done_finds_the_pace_of_one_who_is_alone(hand):
    pace = Pace(hand)
    for _ in range(100):
        pace.rest_s(0)
    hand.advance(100 * APART_S)
    assert pace.rest_s(0) <= 1


def test_more_than_can_return_in_time_are_spread_over_the_longest_rest(hand):
    pace = Pace(hand)
    rests = [pace.rest_s(0) for _ in range(2_000)]
    late = [rest for rest in rests if rest > LONGEST_S / 2]
    assert max(rests) <= LONGEST_S
    assert max(sum(second < rest <= second + 1 for rest in late) for second in range(30, 60)) < 100


def test_what_was_put_back_is_over_before_its_message_counts_as_abandoned():
    before_it_and_its_own_s = 2 * celery.TIME_LIMIT_S
    assert LONGEST_S + before_it_and_its_own_s <= celery.VISIBILITY_S
