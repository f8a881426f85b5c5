"""The breaker as a machine: the clock moves by hand, nothing sleeps."""

import logging
import threading
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from stabilizer.gate.breaker import (
    FROZEN_S,
    LATE_S,
    LEAST_CALLS,
    LONGEST_S,
    LOOK_EVERY_S,
    SLOW_S,
    WINDOW_S,
    Breaker,
    Call,
    State,
    Window,
)
from tests.hand_clock import HandClock

#: What is lost where moments are added and subtracted.
ROUNDING_S = 1e-6


@pytest.fixture
def breaker(hand: HandClock) -> Breaker:
    """Its waits are as long as can be."""
    return Breaker("database:read", hand, chance=lambda: 0)


def begin(breaker: Breaker) -> Call:
    call = breaker.began()
    assert call is not None
    return call


def watch(breaker: Breaker, hand: HandClock, seconds: float, waiting: int = 0) -> None:
    """Time passes, and the breaker looks as often as it should."""
    breaker.look(waiting)
    for _ in range(round(seconds / LOOK_EVERY_S)):
        hand.advance(LOOK_EVERY_S)
        breaker.look(waiting)


def calls(breaker: Breaker, hand: HandClock, count: int, *, ok: bool = True, s: float = 0) -> None:
    for _ in range(count):
        call = begin(breaker)
        hand.advance(s)
        breaker.ended(call, ok)


def fail(breaker: Breaker, hand: HandClock) -> None:
    """Open it."""
    calls(breaker, hand, LEAST_CALLS, ok=False)
    assert breaker.state is State.OPEN


def probe(breaker: Breaker, hand: HandClock, *, ok: bool) -> None:
    hand.advance(breaker.retry_after_s)
    breaker.ended(begin(breaker), ok)


def test_it_opens_when_nothing_ends_any_more(breaker: Breaker, hand: HandClock) -> None:
    for _ in range(4):
        begin(breaker)
    watch(breaker, hand, FROZEN_S - LOOK_EVERY_S)
    assert breaker.admits()
    watch(breaker, hand, 2 * LOOK_EVERY_S)
    assert breaker.state is State.OPEN
    assert not breaker.admits()
    assert breaker.began() is None


def test_it_opens_though_calls_go_on_beginning(breaker: Breaker, hand: HandClock) -> None:
    for _ in range(5):
        begin(breaker)
        watch(breaker, hand, LOOK_EVERY_S)
    watch(breaker, hand, LOOK_EVERY_S)
    assert breaker.state is State.OPEN


def test_one_long_call_does_not_open_it(breaker: Breaker, hand: HandClock) -> None:
    begin(breaker)
    watch(breaker, hand, 5)
    assert breaker.state is State.CLOSED


def test_one_long_call_opens_it_if_others_wait_for_its_thread(
    breaker: Breaker, hand: HandClock
) -> None:
    begin(breaker)
    watch(breaker, hand, FROZEN_S + LOOK_EVERY_S, waiting=1)
    assert breaker.state is State.OPEN


def test_a_long_call_beside_short_ones_does_not_open_it(breaker: Breaker, hand: HandClock) -> None:
    begin(breaker)
    for _ in range(10):
        short = begin(breaker)
        watch(breaker, hand, FROZEN_S - LOOK_EVERY_S)
        breaker.ended(short, ok=True)
        watch(breaker, hand, FROZEN_S - LOOK_EVERY_S)
    assert breaker.state is State.CLOSED


def test_a_call_that_just_began_has_its_time_however_long_nothing_ended(
    breaker: Breaker, hand: HandClock
) -> None:
    begin(breaker)
    breaker.ended(begin(breaker), ok=True)
    watch(breaker, hand, 5)
    begin(breaker)
    watch(breaker, hand, LOOK_EVERY_S)
    assert breaker.state is State.CLOSED


def test_a_process_that_was_held_up_itself_does_not_blame_the_database(
    breaker: Breaker, hand: HandClock
) -> None:
    running = [begin(breaker) for _ in range(4)]
    watch(breaker, hand, LOOK_EVERY_S)
    hand.advance(60)
    breaker.look()
    assert breaker.state is State.CLOSED
    for call in running:
        breaker.ended(call, ok=True)
    watch(breaker, hand, 5)
    assert breaker.state is State.CLOSED
    assert LATE_S < FROZEN_S


@pytest.mark.parametrize(("failed", "opens"), [(9, False), (10, True)])
def test_it_opens_when_half_of_the_calls_fail(
    breaker: Breaker, hand: HandClock, failed: int, opens: bool
) -> None:
    calls(breaker, hand, LEAST_CALLS - failed)
    calls(breaker, hand, failed, ok=False)
    assert (breaker.state is State.OPEN) is opens


def test_it_opens_when_half_of_the_calls_are_slow(breaker: Breaker, hand: HandClock) -> None:
    calls(breaker, hand, 12)
    calls(breaker, hand, 7, s=SLOW_S)
    assert breaker.admits()
    begun = [begin(breaker) for _ in range(5)]
    hand.advance(SLOW_S)
    for call in begun:
        breaker.ended(call, ok=True)
    assert breaker.state is State.OPEN


def test_less_than_twenty_calls_say_nothing(breaker: Breaker, hand: HandClock) -> None:
    calls(breaker, hand, LEAST_CALLS - 1, ok=False)
    assert breaker.admits()
    calls(breaker, hand, 1, ok=False)
    assert not breaker.admits()


def test_what_is_over_for_ten_seconds_is_forgotten(breaker: Breaker, hand: HandClock) -> None:
    calls(breaker, hand, LEAST_CALLS - 1, ok=False)
    hand.advance(WINDOW_S)
    calls(breaker, hand, LEAST_CALLS - 1, ok=False)
    assert breaker.state is State.CLOSED


def test_the_window_remembers_no_more_than_its_buckets() -> None:
    window = Window()
    for number in range(100_000):
        window.count(number / 50, failed=number % 2 == 0, slow=number % 4 == 0)
    assert len(window._buckets) == WINDOW_S
    assert window._totals == [500, 250, 125]


def test_it_says_when_to_return(breaker: Breaker, hand: HandClock) -> None:
    assert breaker.retry_after_s == 0
    fail(breaker, hand)
    hand.advance(0.25)
    assert breaker.retry_after_s == 0.75
    hand.advance(0.75)
    assert (breaker.admits(), breaker.retry_after_s) == (True, 0)
    begin(breaker)
    assert (breaker.admits(), breaker.retry_after_s) == (False, SLOW_S)


def test_one_call_is_the_probe_and_its_success_closes(breaker: Breaker, hand: HandClock) -> None:
    fail(breaker, hand)
    hand.advance(1)
    first = begin(breaker)
    assert not breaker.admits()
    assert [breaker.began() for _ in range(10)] == [None] * 10
    breaker.ended(first, ok=True)
    assert breaker.state is State.CLOSED
    calls(breaker, hand, 10)


def test_of_many_threads_one_has_the_probe(breaker: Breaker, hand: HandClock) -> None:
    fail(breaker, hand)
    hand.advance(1)
    together, begun = threading.Barrier(16), list[Call | None]()

    def try_it() -> None:
        together.wait()
        begun.append(breaker.began())

    threads = [threading.Thread(target=try_it) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 16
    assert len([call for call in begun if call]) == 1


def test_each_probe_that_fails_doubles_the_wait_up_to_four_seconds(
    breaker: Breaker, hand: HandClock
) -> None:
    fail(breaker, hand)
    waits = []
    for _ in range(8):
        waits.append(breaker.retry_after_s)
        probe(breaker, hand, ok=False)
    assert waits == [1, 2, 4, 4, 4, 4, 4, 4]


def test_chance_shortens_a_wait_by_a_quarter_at_most(hand: HandClock) -> None:
    breaker = Breaker("database:read", hand, chance=lambda: 1)
    fail(breaker, hand)
    assert breaker.retry_after_s == 0.75


def test_a_probe_that_takes_too_long_has_failed_though_it_never_ends(
    breaker: Breaker, hand: HandClock
) -> None:
    fail(breaker, hand)
    hand.advance(1)
    stuck = begin(breaker)
    watch(breaker, hand, SLOW_S)
    assert (breaker.state, breaker.failures) == (State.OPEN, 1)
    breaker.ended(stuck, ok=True)
    assert breaker.state is State.OPEN


def test_a_probe_that_succeeds_slowly_has_failed(breaker: Breaker, hand: HandClock) -> None:
    fail(breaker, hand)
    hand.advance(1)
    calls(breaker, hand, 1, s=SLOW_S)
    assert (breaker.state, breaker.failures) == (State.OPEN, 1)


def test_calls_stuck_in_a_frozen_database_do_not_count_when_they_end_late(
    breaker: Breaker, hand: HandClock
) -> None:
    stuck = [begin(breaker) for _ in range(LEAST_CALLS)]
    watch(breaker, hand, 1)
    probe(breaker, hand, ok=True)
    for call in stuck:
        breaker.ended(call, ok=False)
    assert breaker.state is State.CLOSED
    assert breaker._running == 0
    # Nor do those that are still stuck make a single call look as if it were not alone.
    begin(breaker)
    watch(breaker, hand, 5)
    assert breaker.state is State.CLOSED


def test_a_dependency_that_flaps_is_left_alone_for_longer_each_time(
    breaker: Breaker, hand: HandClock
) -> None:
    waits = []
    for _ in range(4):
        fail(breaker, hand)
        waits.append(breaker.retry_after_s)
        probe(breaker, hand, ok=True)
    assert waits == [1, 2, 4, 4]


def test_after_ten_good_seconds_the_next_opening_is_a_first_one(
    breaker: Breaker, hand: HandClock
) -> None:
    fail(breaker, hand)
    probe(breaker, hand, ok=False)
    probe(breaker, hand, ok=True)
    hand.advance(WINDOW_S)
    fail(breaker, hand)
    assert (breaker.failures, breaker.retry_after_s) == (0, 1)


def test_another_process_may_have_the_probe(breaker: Breaker, hand: HandClock) -> None:
    asked: list[int] = []

    def claim(failures: int) -> float:
        asked.append(failures)
        return 2.0 if len(asked) == 1 else 0

    breaker.claim = claim
    fail(breaker, hand)
    hand.advance(1)
    assert breaker.began() is None
    assert (breaker.state, breaker.retry_after_s, breaker.failures) == (State.OPEN, 2.0, 0)
    hand.advance(2)
    begin(breaker)
    assert asked == [0, 0]


def test_a_claim_that_took_too_long_does_not_shorten_the_wait(
    breaker: Breaker, hand: HandClock
) -> None:
    def claim(failures: int) -> float:
        hand.advance(SLOW_S)
        breaker.look()
        return 0.1

    breaker.claim = claim
    fail(breaker, hand)
    hand.advance(1)
    assert breaker.began() is None
    assert (breaker.failures, breaker.retry_after_s) == (1, 2)


def test_what_others_found_does_not_disturb_a_probe_of_ours(
    breaker: Breaker, hand: HandClock
) -> None:
    fail(breaker, hand)
    hand.advance(1)
    ours = begin(breaker)
    breaker.closed_elsewhere()
    breaker.opened_elsewhere(0, 2.0)
    assert not breaker.admits()
    breaker.ended(ours, ok=True)
    assert breaker.state is State.CLOSED


def test_each_change_is_logged_once(
    breaker: Breaker, hand: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stabilizer.gate.breaker")
    fail(breaker, hand)
    breaker.opened_elsewhere(0, 1)
    probe(breaker, hand, ok=True)
    assert [line.getMessage() for line in caplog.records] == [
        "breaker database:read: closed > open",
        "breaker database:read: open > half-open",
        "breaker database:read: half-open > closed",
    ]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens: one probe, bounded waits, and closed again once the dependency is well."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.hand = HandClock(0)
        self.breaker = Breaker("database:read", self.hand, chance=lambda: 0.5)
        self.breaker.claim = lambda failures: self.elsewhere_s
        self.elsewhere_s = 0.0
        #: Calls that were let through while it was half-open, by generation.
        self.probes: list[int] = []

    @rule(target=running)
    def begin(self):
        admitted = self.breaker.admits()
        call = self.breaker.began()
        assert call is None or admitted
        assert call is not None or not admitted or self.elsewhere_s
        if call and self.breaker.state is State.HALF_OPEN:
            self.probes.append(call.generation)
        return call

    @rule(call=consumes(running), ok=st.booleans())
    def end(self, call, ok):
        if call is not None:
            self.breaker.ended(call, ok)

    @rule(count=st.integers(1, 30), ok=st.booleans(), took_s=st.sampled_from([0, 0.01, 1.5]))
    def a_burst(self, count, ok, took_s):
        begun = [self.breaker.began() for _ in range(count)]
        self.hand.advance(took_s)
        for call in begun:
            if call is not None:
                self.breaker.ended(call, ok)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 3, 40]), looks=st.booleans())
    def time_passes(self, seconds, looks):
        if looks:
            watch(self.breaker, self.hand, min(seconds, 3))
        else:
            self.hand.advance(seconds)

    @rule(wait_s=st.sampled_from([0.0, 0.5, 2.0]))
    def others_probe(self, wait_s):
        self.elsewhere_s = wait_s

    @rule(failures=st.integers(0, 40), wait_s=st.floats(0, LONGEST_S))
    def others_open(self, failures, wait_s):
        self.breaker.opened_elsewhere(failures, wait_s)

    @rule()
    def others_close(self):
        self.breaker.closed_elsewhere()

    @invariant()
    def there_is_one_probe_at_most(self):
        assert len(self.probes) == len(set(self.probes))

    @invariant()
    def nobody_is_sent_away_for_longer_than_that(self):
        assert 0 <= self.breaker.retry_after_s <= LONGEST_S + ROUNDING_S

    @invariant()
    def what_is_open_refuses(self):
        if self.breaker.state is not State.CLOSED and self.breaker.retry_after_s > 0:
            assert not self.breaker.admits()

    def teardown(self):
        """The dependency is well from now on: the next who obeys `retry_after_s` closes it."""
        self.elsewhere_s = 0.0
        # Earlier failures may open it once more.
        self.hand.advance(WINDOW_S)
        for _ in range(3):
            self.hand.advance(self.breaker.retry_after_s + ROUNDING_S)
            if call := self.breaker.began():
                self.breaker.ended(call, ok=True)
        assert self.breaker.state is State.CLOSED


TestAnyOrder: Callable[..., object] = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
