"""The slots: none is ever lost, whatever happens in whichever order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from stabilizer.gate.slots import Slots
from stabilizer.gate.ticket import LEVELS, SHARES, State, Ticket
from tests.hand_clock import HandClock


class AnyOrder(RuleBasedStateMachine):
    """After any order of arrivals, grants, deadlines, departures and resizes the count is right."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock(0)
        self.limit = 4
        self.slots = Slots(self.limit, 5, self.clock)
        self.known: list[Ticket] = []
        self.wakes: dict[Ticket, int] = {}

    @rule(
        target=tickets,
        level=st.sampled_from(LEVELS),
        budget=st.sampled_from(list(SHARES)),
        names=st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")),
        weight=st.integers(1, 6),
        patience=st.integers(0, 3),
    )
    def arrive(self, level, budget, names, weight, patience):
        one = Ticket(level, weight, self.clock.now + patience, 0, budget, names)
        self.known.append(one)
        self.wakes[one] = 0
        if not self.slots.take(one):

            def wake(one=one):
                self.wakes[one] += 1

            one.wake = wake
            if not self.slots.join(one):
                self.known.remove(one)
        return one

    @rule(one=tickets)
    def end(self, one):
        self.slots.leave(one)

    @rule(one=tickets)
    def deadline_or_client_gone(self, one):
        self.slots.drop(one)

    @rule(one=tickets)
    def granted_and_gone_in_one_tick(self, one):
        self.slots.drop(one)
        self.slots.leave(one)
        self.slots.leave(one)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(limit=st.integers(0, 8))
    def share_changes(self, limit):
        self.limit = limit
        self.slots.resize(limit)

    @rule(slots=st.integers(1, 8))
    def adaptive_limit_changes(self, slots):
        self.slots.narrow(slots)

    @invariant()
    def the_count_is_that_of_the_granted(self):
        granted = [one for one in self.known if one.state is State.GRANTED]
        assert self.slots.in_use == sum(one.held for one in granted)
        assert self.slots.waiting == sum(one.state is State.WAITING for one in self.known)

    @invariant()
    def nobody_was_granted_a_slot_past_its_deadline(self):
        granted = [one for one in self.known if one.state is State.GRANTED]
        assert all(one.granted_at < one.deadline for one in granted)

    @invariant()
    def nobody_is_woken_twice(self):
        assert all(count <= 1 for count in self.wakes.values())

    @invariant()
    def no_slot_stays_free_that_the_next_critical_request_could_have(self):
        queue = [one for one in self.known if one.state is State.WAITING]
        # Passed deadlines are dropped by their timers, or by the next thing that happens.
        if self.limit and queue and min(one.deadline for one in queue) > self.clock.now:
            critical = [one for one in queue if one.level == "critical"]
            if critical and not any(one.level == "admin" for one in queue):
                free = self.limit - self.slots.in_use
                assert free < min(critical[0].weight, self.limit)

    def teardown(self):
        for one in self.known:
            self.slots.leave(one)
        assert (self.slots.in_use, self.slots.waiting, self.slots.demand) == (0, 0, 0)
        self.slots.resize(3)
        assert self.slots.take(Ticket("normal", 1, self.clock.now + 1))


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
