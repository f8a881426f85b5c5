import pytest

from ratelimit.health import Health, Mode
from tests.hand_clock import HandClock


@pytest.fixture
def health(hand: HandClock) -> Health:
    return Health(hand, recovering_s=60)


def mode(health: Health) -> Mode:
    return health.mode


def fail(health: Health, times: int) -> None:
    for _ in range(times):
        health.failed()


def test_one_error_stops_all_asking_until_a_probe_has_answered(health: Health) -> None:
    health.failed()
    assert (health.mode, health.asks) == (Mode.SUSPECT, False)
    health.probed(good=True)
    assert (health.mode, health.asks) == (Mode.HEALTHY, True)


def test_three_errors_within_a_second_mean_that_the_store_is_away(health: Health) -> None:
    fail(health, 3)
    assert (health.mode, health.asks) == (Mode.LOCAL, False)


def test_three_errors_within_a_second_count_although_probes_between_them_were_good(
    health: Health, hand: HandClock
) -> None:
    for _ in range(3):
        health.failed()
        health.probed(good=True)
        hand.advance(0.3)
    assert health.mode is Mode.LOCAL or health.mode is Mode.RECOVERING


def test_errors_a_second_apart_do_not_add_up(health: Health, hand: HandClock) -> None:
    for _ in range(5):
        health.failed()
        health.probed(good=True)
        hand.advance(1)
    assert health.mode is Mode.HEALTHY


def test_a_bad_probe_after_an_error_means_away(health: Health) -> None:
    health.failed()
    health.probed(good=False)
    assert health.mode is Mode.LOCAL


def test_slow_calls_below_one_percent_are_no_reason(health: Health) -> None:
    for number in range(400):
        health.answered(slow=number % 101 == 100)
    assert health.mode is Mode.HEALTHY


def test_more_slow_calls_make_it_suspect_and_it_is_still_asked(health: Health) -> None:
    for number in range(200):
        health.answered(slow=number % 50 == 0)
    assert (health.mode, health.asks) == (Mode.SUSPECT, True)
    health.probed(good=False)
    assert (health.mode, health.asks) == (Mode.LOCAL, False)


def test_slow_calls_of_an_earlier_second_are_forgotten(health: Health, hand: HandClock) -> None:
    for _ in range(10):
        health.answered(slow=True)
        hand.advance(0.51)
    assert health.mode is Mode.HEALTHY


def test_a_store_that_came_back_is_asked_and_healthy_after_one_window(
    health: Health, hand: HandClock
) -> None:
    fail(health, 3)
    hand.advance(30)
    health.probed(good=True)
    assert (health.mode, health.asks) == (Mode.RECOVERING, True)
    hand.advance(59.9)
    health.answered(slow=False)
    assert health.mode is Mode.RECOVERING
    assert health.recovered_s == pytest.approx(59.9)
    hand.advance(0.1)
    health.answered(slow=False)
    assert mode(health) is Mode.HEALTHY


def test_an_error_while_recovering_is_forgiven_by_a_probe_and_does_not_restart_the_window(
    health: Health, hand: HandClock
) -> None:
    fail(health, 3)
    health.probed(good=True)
    hand.advance(40)
    health.failed()
    assert not health.asks
    health.probed(good=True)
    assert health.mode is Mode.RECOVERING
    hand.advance(20)
    health.answered(slow=False)
    assert mode(health) is Mode.HEALTHY


def test_late_errors_of_calls_that_were_under_way_do_not_end_a_recovery(health: Health) -> None:
    fail(health, 6)
    health.probed(good=True)
    health.failed()
    health.probed(good=True)
    assert health.mode is Mode.RECOVERING


def test_a_recovery_ends_by_time_alone(health: Health, hand: HandClock) -> None:
    fail(health, 3)
    health.probed(good=True)
    hand.advance(59.9)
    health.waited()
    assert health.mode is Mode.RECOVERING
    hand.advance(0.1)
    health.waited()
    assert mode(health) is Mode.HEALTHY


def test_only_a_probe_takes_a_suspicion_back_while_recovering(
    health: Health, hand: HandClock
) -> None:
    fail(health, 3)
    health.probed(good=True)
    hand.advance(30)
    health.failed()
    health.waited()
    assert (health.mode, health.asks) == (Mode.SUSPECT, False)


def test_three_errors_within_a_second_count_while_recovering_too(
    health: Health, hand: HandClock
) -> None:
    fail(health, 3)
    health.probed(good=True)
    hand.advance(30)
    for _ in range(2):
        health.failed()
        health.probed(good=True)
    health.failed()
    assert health.mode is Mode.LOCAL
