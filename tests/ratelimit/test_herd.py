from collections import Counter
from random import Random

from ratelimit.herd import (
    FIRST_LONGEST_S,
    LONGEST_S,
    MEASURED_S,
    ON_TIME_S,
    PROMISED,
    REMEMBERED,
    Herd,
    Places,
)
from tests.hand_clock import HandClock


def serve(herd: Herd, hand: HandClock, per_second: int, seconds: int) -> None:
    for _ in range(seconds):
        herd.served(requests=per_second)
        hand.advance(1)


def rush(herd: Herd, hand: HandClock, per_second: int) -> None:
    """So many are served per second while others are sent away."""
    for _ in range(6):
        herd.retry_after()
        serve(herd, hand, per_second, seconds=1)


def test_ten_thousand_come_back_as_a_ramp_of_what_can_be_served(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    rush(herd, hand, per_second=500)
    slots = Counter(herd.retry_after() for _ in range(10_000))
    seconds = 10_000 // 575
    assert slots == dict.fromkeys(range(1, seconds + 1), 575) | {
        seconds + 1: 10_000 - seconds * 575
    }


def test_what_can_be_served_is_never_promised_to_a_fifth_more() -> None:
    assert 1 < PROMISED < 1.2


def test_who_measured_before_what_can_be_served_sends_as_far_as_it_takes(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    slots = Counter(herd.retry_after(capacity=200) for _ in range(10_000))
    assert max(slots.values()) == round(200 * PROMISED)


def test_the_next_sent_away_queue_behind_those_who_were_before(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    serve(herd, hand, per_second=100, seconds=6)
    for _ in range(230):
        herd.retry_after()
    hand.advance(1)
    assert herd.retry_after() == 2


def test_the_rate_is_that_of_the_last_seconds(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    serve(herd, hand, per_second=1000, seconds=10)
    serve(herd, hand, per_second=100, seconds=5)
    assert Counter(herd.retry_after() for _ in range(230)) == {1: 115, 2: 115}


def test_what_an_idle_service_served_sends_nobody_far_away(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    serve(herd, hand, per_second=1, seconds=60)
    slots = Counter(herd.retry_after() for _ in range(1_000))
    assert slots == dict.fromkeys(range(1, FIRST_LONGEST_S + 1), 100)


def test_a_rush_is_over_when_nobody_was_sent_away_for_a_while(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    herd.retry_after()
    hand.advance(MEASURED_S + 1)
    serve(herd, hand, per_second=0, seconds=MEASURED_S)
    assert max(herd.retry_after() for _ in range(100)) == FIRST_LONGEST_S


def test_nobody_is_sent_away_for_longer_than_the_longest(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    herd.retry_after()
    serve(herd, hand, per_second=0, seconds=MEASURED_S)
    slots = Counter(herd.retry_after() for _ in range(10 * LONGEST_S))
    assert max(slots) == LONGEST_S
    assert set(slots.values()) == {10}


def test_before_anything_was_measured_there_is_an_assumption(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    assert [herd.retry_after() for _ in range(58)].count(1) == 57


def test_each_kind_returns_at_the_pace_at_which_it_is_served(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    for _ in range(6):
        herd.served("create", 100)
        herd.served("others", 300)
        hand.advance(1)
    assert Counter(herd.retry_after("create") for _ in range(230)) == {1: 115, 2: 115}
    assert Counter(herd.retry_after("others") for _ in range(345)) == {1: 345}


def test_a_kind_that_was_not_served_lately_is_promised_a_fifth_of_all(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    herd.served("rare")
    for _ in range(10):
        herd.served("create", 500)
        hand.advance(1)
    assert Counter(herd.retry_after("rare") for _ in range(230)) == {1: 115, 2: 115}


def test_what_was_idle_is_promised_too(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    for _ in range(6):
        herd.served("create", 100)
        herd.served("others", 300)
        hand.advance(1)
    slots = Counter(herd.retry_after("create", capacity=600) for _ in range(690))
    assert slots == {1: 345, 2: 345}
    assert herd.retry_after("others", capacity=300) == 1


def test_who_returns_when_told_to_is_recognised_once(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    told_s = herd.retry_after(who="set")
    seen = [herd.is_due("set")]
    for _ in range(3):
        hand.advance(told_s)
        seen.append(herd.is_due("set"))
    assert seen == [False, True, False, False]


def test_who_comes_too_late_is_a_newcomer(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    hand.advance(herd.retry_after(who="set") + ON_TIME_S)
    assert not herd.is_due("set")


def test_only_so_many_are_remembered(hand: HandClock) -> None:
    herd = Herd(clock=hand)
    for number in range(REMEMBERED + 1):
        herd.retry_after(who=number)
    hand.advance(1)
    assert not herd.is_due(0)
    assert len(herd._told) == REMEMBERED


def test_a_place_is_the_first_second_with_room_and_when_all_are_full_the_first_of_the_emptiest():
    places, plain, random = Places(), Counter[int](), Random(20261128)
    now, room = 0, 5
    for _ in range(3_000):
        now += random.random() < 0.01
        room = random.choice((2, 5, 9)) if random.random() < 0.02 else room
        ahead = range(now + 1, now + 1 + LONGEST_S)
        free = [second for second in ahead if plain[second] < room]
        expected = free[0] if free else min(ahead, key=plain.__getitem__)
        plain[expected] += 1
        assert places.take(now, room, LONGEST_S) == expected
    assert max(plain.values()) > 9
