import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.gcra import SECOND_US, Limit, decide, quota

FIVE = Limit("udid", 5, 300)


def test_it_bursts_to_the_quantity_and_regains_one_per_emission_interval() -> None:
    tat, now = 0, 10**15
    for _ in range(5):
        tat, _, wait = decide(5, FIVE.emission_us, tat, now)
        assert wait == 0
    assert decide(5, FIVE.emission_us, tat, now).wait_us == 60 * SECOND_US
    assert decide(5, FIVE.emission_us, tat, now + 60 * SECOND_US).wait_us == 0


def test_a_tat_beyond_its_window_counts_as_a_used_up_quota() -> None:
    now = 10**15
    decision = decide(5, FIVE.emission_us, now + 3600 * SECOND_US, now)
    assert decision.wait_us == 60 * SECOND_US


def test_a_refund_beyond_what_was_taken_makes_the_limit_untouched() -> None:
    now = 10**15
    assert decide(5, FIVE.emission_us, now + SECOND_US, now, cost=-3).tat_us == now


def test_a_cost_above_the_quantity_takes_the_whole_quantity() -> None:
    now = 10**15
    assert decide(5, FIVE.emission_us, 0, now, cost=9).slack_us == 0
    assert FIVE.priced(9) == FIVE.priced(5)


@pytest.mark.parametrize(("quantity", "window_s"), [(0, 60), (-1, 60), (5, 0), (2_000_000, 1)])
def test_it_refuses_a_limit_that_limits_nothing(quantity: int, window_s: int) -> None:
    with pytest.raises(ValueError, match="limit 'x'"):
        Limit("x", quantity, window_s)


def test_an_untouched_quota_is_full_now() -> None:
    assert quota(FIVE, FIVE.tolerance_us) == (FIVE, 5, 0)


def test_the_reset_is_rounded_up() -> None:
    assert quota(FIVE, FIVE.tolerance_us - 1) == (FIVE, 4, 1)
    assert quota(FIVE, 0, wait_us=1) == (FIVE, 0, 1)


@given(
    quantity=st.integers(1, 1000),
    window_s=st.integers(1, 100_000),
    gaps_us=st.lists(st.integers(0, 10**8), max_size=60),
)
def test_no_window_ever_allows_more_than_twice_the_quantity(
    quantity: int, window_s: int, gaps_us: list[int]
) -> None:
    limit = Limit("any", quantity, window_s)
    now, tat, allowed = 10**15, 0, []
    for gap in gaps_us:
        now += gap
        tat, slack, wait = decide(quantity, limit.emission_us, tat, now)
        assert 0 <= slack <= limit.tolerance_us
        if not wait:
            allowed.append(now)
    for at in allowed:
        assert sum(at <= other < at + limit.tolerance_us for other in allowed) <= 2 * quantity
