from ratelimit.gcra import Charge, Limit
from ratelimit.memory import Refusals
from tests.hand_clock import HandClock

LIMIT = Limit("udid", 5, 300)
CHARGE = Charge(LIMIT, "rl:{t}:x")


def test_it_recalls_a_refusal_until_its_time_and_not_longer(hand: HandClock) -> None:
    refusals = Refusals(clock=hand)
    refusals.remember(CHARGE, 8.5)
    hand.advance(0.5)
    known = refusals.recall([CHARGE])
    assert known is not None
    assert known.quotas == ((LIMIT, 0, 8),)
    assert known.retry_after_s == 8
    hand.advance(8)
    assert refusals.recall([CHARGE]) is None


def test_a_cheaper_charge_must_be_decided(hand: HandClock) -> None:
    refusals = Refusals(clock=hand)
    refusals.remember(CHARGE._replace(cost=3), 60)
    assert refusals.recall([CHARGE]) is None
    assert refusals.recall([CHARGE._replace(cost=4)]) is not None


def test_limits_that_may_be_refunded_are_not_remembered(hand: HandClock) -> None:
    refusals = Refusals(clock=hand)
    charge = Charge(Limit("failures", 5, 900, refundable=True), "rl:{t}:y")
    refusals.remember(charge, 60)
    assert refusals.recall([charge]) is None


def test_it_is_bounded_and_forgets_the_oldest(hand: HandClock) -> None:
    refusals = Refusals(size=2, clock=hand)
    charges = [CHARGE._replace(key=str(number)) for number in range(3)]
    for charge in charges:
        refusals.remember(charge, 60)
    assert [refusals.recall([charge]) is not None for charge in charges] == [False, True, True]


def test_clearing_forgets_all(hand: HandClock) -> None:
    refusals = Refusals(clock=hand)
    refusals.remember(CHARGE, 60)
    refusals.clear()
    assert refusals.recall([CHARGE]) is None
