from ratelimit.gcra import Charge, Limit
from ratelimit.local import LocalLimits
from tests.hand_clock import HandClock

TEN = Charge(Limit("ten", 10, 600), "rl:{t}:ten")


def allowed(local: LocalLimits, charge: Charge, processes: int, tries: int = 30) -> int:
    return sum(local.charge([charge], processes).allowed for _ in range(tries))


def test_a_process_alone_allows_the_whole_quantity(hand: HandClock) -> None:
    assert allowed(LocalLimits(clock=hand), TEN, processes=1) == 10


def test_two_processes_allow_half_of_it_each_at_half_the_rate(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    assert allowed(local, TEN, processes=2) == 5
    hand.advance(119)
    assert allowed(local, TEN, processes=2) == 0
    hand.advance(1)
    assert allowed(local, TEN, processes=2) == 1


def test_a_share_below_one_allows_one_and_keeps_the_rate(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    assert allowed(local, TEN, processes=24) == 1
    hand.advance(60 * 24 - 1)
    assert allowed(local, TEN, processes=24) == 0
    hand.advance(1)
    assert allowed(local, TEN, processes=24) == 1


def test_what_redis_allowed_is_already_taken_from_the_share(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    for _ in range(4):
        local.warm([TEN], processes=2)
    assert allowed(local, TEN, processes=2) == 1


def test_warming_beyond_the_share_waits_no_longer_than_its_window(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    for _ in range(10):
        local.warm([TEN], processes=2)
    hand.advance(119)
    assert not local.charge([TEN], processes=2).allowed
    hand.advance(1)
    assert local.charge([TEN], processes=2).allowed


def test_nobody_is_told_to_stay_away_for_longer_than_redis_may_need_to_return(
    hand: HandClock,
) -> None:
    local = LocalLimits(clock=hand)
    for _ in range(10):
        local.warm([TEN], processes=2)
    verdict = local.charge([TEN], processes=2)
    assert (verdict.retry_after_s, verdict.quotas[0].reset_s) == (10, 10)


def test_what_was_decided_here_is_owed_to_redis_once(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    other, paid_back = TEN._replace(key="other"), TEN._replace(key="paid back")
    local.warm([TEN], processes=1)
    for _ in range(2):
        local.charge([TEN, other, paid_back], processes=1)
        local.charge([paid_back._replace(cost=-1)], processes=1)
    assert local.owed() == [TEN._replace(cost=2), other._replace(cost=2)]
    assert local.owed() == []


def test_what_is_older_than_its_window_is_owed_no_more(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    local.charge([TEN], processes=1)
    hand.advance(TEN.limit.window_s)
    assert local.owed() == []


def test_a_refusal_charges_nothing_and_says_that_it_is_local(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    one = Charge(Limit("one", 1, 60), "rl:{t}:one")
    assert local.charge([one], 1).allowed
    verdict = local.charge([TEN, one], 1)
    assert (verdict.allowed, verdict.violated, verdict.local) == (False, ("one",), True)
    assert [quota.remaining for quota in verdict.quotas] == [10, 0]


def test_an_open_limit_lets_all_pass(hand: HandClock) -> None:
    charge = Charge(Limit("open", 1, 600, "open"), "rl:{t}:open")
    assert allowed(LocalLimits(clock=hand), charge, processes=1) == 30


def test_a_closed_limit_refuses_all_and_says_whose_fault_that_is(hand: HandClock) -> None:
    charge = Charge(Limit("closed", 100, 600, "closed"), "rl:{t}:closed")
    verdict = LocalLimits(clock=hand).charge([TEN, charge], 1)
    assert (verdict.allowed, verdict.unavailable, verdict.violated) == (False, True, ("closed",))


def test_a_refund_counts_locally(hand: HandClock) -> None:
    local = LocalLimits(clock=hand)
    assert allowed(local, TEN, processes=1) == 10
    assert local.charge([TEN._replace(cost=-2)], 1).allowed
    assert allowed(local, TEN, processes=1) == 2


def test_it_is_bounded_and_forgets_the_account_unused_for_longest(hand: HandClock) -> None:
    local = LocalLimits(accounts=2, clock=hand)
    charges = [TEN._replace(key=str(number), cost=10) for number in range(3)]
    for charge in charges:
        local.charge([charge], 1)
    assert [local.charge([charge], 1).allowed for charge in reversed(charges)] == [
        False,
        False,
        True,
    ]
