"""The slots: order, reserve, guarantee, and who would wait in vain."""

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from stabilizer.gate.slots import Slots
from stabilizer.gate.ticket import Budget, Level, State, Ticket
from tests.hand_clock import HandClock


def slots_of(limit: int, queue_length: int = 100) -> Slots:
    return Slots(limit, queue_length, HandClock(0))


def ticket(
    level: Level = "normal",
    weight: int = 1,
    deadline: float = 10,
    budget: Budget = "site",
    names: tuple[str, str] = ("", ""),
) -> Ticket:
    return Ticket(level, weight, deadline, 0, budget, names)


def waiting(slots: Slots, level: Level = "normal", weight: int = 1, **claim: Any) -> Ticket:
    late = ticket(level, weight, **claim)
    assert not slots.take(late)
    assert slots.join(late)
    return late


def filled(slots: Slots, level: Level = "critical") -> list[Ticket]:
    tickets = []
    while slots.take(one := ticket(level)):
        tickets.append(one)
    return tickets


def test_a_freed_slot_goes_to_critical_before_normal_before_sheddable():
    slots = slots_of(1)
    (first,) = filled(slots)
    sheddable, normal, critical = (
        waiting(slots, level) for level in ("sheddable", "normal", "critical")
    )
    order: list[Ticket] = []
    for one in (sheddable, normal, critical):
        one.wake = partial(order.append, one)
    for one in (first, critical, normal, sheddable):
        slots.leave(one)
    assert order == [critical, normal, sheddable]
    assert slots.in_use == 0


def order_of(
    slots: Slots, running: Ticket, tickets: list[Ticket], took_s: float = 0.01
) -> list[Ticket]:
    """Those who wait, in the order in which they get the only slot."""
    order: list[Ticket] = []
    for one in tickets:
        one.wake = partial(order.append, one)
    for _ in tickets:
        slots._clock.now += took_s
        slots.leave(running)
        running = order[-1]
    return order


def test_budgets_that_want_all_get_their_shares():
    slots = slots_of(1)
    (first,) = filled(slots)
    tickets = [
        waiting(slots, budget=budget, deadline=1_000)
        for budget in ("pairing", "begun", "site")
        for _ in range(30)
    ]
    order = [one.budget for one in order_of(slots, first, tickets)]
    assert Counter(order[:26]) == {"begun": 18, "pairing": 6, "site": 2}
    assert Counter(order) == {"begun": 30, "pairing": 30, "site": 30}


def test_a_flood_takes_its_budget_and_what_the_others_leave_idle_and_gives_it_back():
    slots = slots_of(1)
    (running,) = filled(slots)
    flood = [waiting(slots, budget="devices", deadline=1_000) for _ in range(60)]
    alone = order_of(slots, running, flood[:20])
    assert alone == flood[:20]
    others = [waiting(slots, budget="pairing", deadline=1_000) for _ in range(12)]
    order = order_of(slots, alone[-1], [*flood[20:], *others])
    # Of each five three are pairing's: fifteen per cent against ten.
    assert Counter(one.budget for one in order[:20]) == {"pairing": 12, "devices": 8}


def test_a_budget_is_charged_with_the_time_that_its_requests_take():
    slots = slots_of(1, queue_length=1_000)
    (running,) = filled(slots)
    order: list[Ticket] = []
    for _ in range(300):
        for budget in ("pairing", "accounts"):
            one = waiting(slots, budget=budget, deadline=1e6)
            one.wake = partial(order.append, one)
    slots.leave(running)
    for _ in range(300):
        one = order[-1]
        slots._clock.now += 0.03 if one.budget == "pairing" else 0.01
        slots.leave(one)
    served = Counter(one.budget for one in order)
    assert served["accounts"] / served["pairing"] == pytest.approx(3, rel=0.1)


def test_tenants_take_turns_and_so_do_the_devices_of_each():
    slots = slots_of(1)
    (first,) = filled(slots)
    names = [*[("big", "loud")] * 6, ("big", "quiet"), ("small", "one"), ("small", "two")]
    tickets = [waiting(slots, names=each) for each in names]
    order = [one.names for one in order_of(slots, first, tickets)]
    assert order[:4] == [("big", "loud"), ("small", "one"), ("big", "quiet"), ("small", "two")]
    assert order[4:] == [("big", "loud")] * 5


def test_critical_requests_go_before_all_budgets():
    slots = slots_of(1)
    (first,) = filled(slots)
    tickets = [waiting(slots, budget="begun"), waiting(slots, "critical")]
    assert [one.level for one in order_of(slots, first, tickets)] == ["critical", "normal"]


def test_a_crowd_of_one_tenant_is_no_reason_to_send_another_away():
    slots = standing(10, ahead=20)
    for number in range(60):
        late = ticket(deadline=1_000, names=("crowd", str(number)))
        assert slots.join(late)
    soon = slots._clock.now + 5 * 1.1 / slots._drain.within(1)
    assert not slots.is_hopeless(ticket(deadline=soon, names=("other", "")))
    assert slots.is_hopeless(ticket(deadline=soon, names=("crowd", "61")))


def test_in_a_full_queue_the_last_of_the_greatest_crowd_makes_room():
    slots = slots_of(1, queue_length=4)
    filled(slots)
    crowd = [waiting(slots, names=("crowd", str(number))) for number in range(4)]
    assert not slots.join(ticket(names=("crowd", "5")))
    other = waiting(slots, names=("other", ""))
    assert [one.state for one in crowd] == [*[State.WAITING] * 3, State.GONE]
    assert (other.state, slots.waiting, slots.dropped) == (State.WAITING, 4, 1)


def test_of_one_device_who_came_first_is_served_first():
    slots = slots_of(1)
    (first,) = filled(slots)
    second, third = waiting(slots), waiting(slots)
    slots.leave(first)
    assert (second.state, third.state) == (State.GRANTED, State.WAITING)


def test_a_share_that_changes_gives_out_no_more_than_the_adaptive_limit():
    slots = slots_of(4)
    slots.narrow(2)
    filled(slots, "normal")
    late = waiting(slots)
    slots.resize(8)
    assert (slots.in_use, late.state) == (2, State.WAITING)


def test_critical_requests_pass_the_reserve_and_others_do_not():
    slots = slots_of(10)
    normal = filled(slots, "normal")
    assert len(normal) == 9
    assert slots.take(ticket("critical"))
    assert not slots.take(ticket("critical"))


def test_critical_requests_that_run_leave_the_others_their_nine_tenths():
    slots = slots_of(10)
    assert slots.take(ticket("critical"))
    assert len(filled(slots, "normal")) == 9


def test_the_only_slot_is_nobodys_reserve():
    assert slots_of(1).take(ticket("sheddable"))


def test_the_admin_is_next_although_critical_requests_wait():
    slots = slots_of(4)
    running = filled(slots)
    critical, admin = waiting(slots, "critical"), waiting(slots, "admin")
    slots.leave(running[0])
    assert (admin.state, critical.state) == (State.GRANTED, State.WAITING)


def test_the_admin_beyond_its_guarantee_waits_its_turn():
    slots = slots_of(4)
    running = filled(slots)
    first, second = waiting(slots, "admin"), waiting(slots, "admin")
    normal = waiting(slots, "normal")
    slots.leave(running[0])
    slots.leave(running[1])
    states = [each.state for each in (first, normal, second)]
    assert states == [State.GRANTED, State.GRANTED, State.WAITING]


def test_idle_slots_of_the_admins_are_lent():
    assert len(filled(slots_of(10), "critical")) == 10


def test_a_class_has_its_own_bounded_queue():
    slots = slots_of(1, queue_length=2)
    filled(slots)
    waiting(slots), waiting(slots)
    assert not slots.join(ticket("normal"))
    assert slots.join(ticket("critical"))


def standing(per_s: int, *, ahead: int) -> Slots:
    """A queue of `ahead` normal tickets, of which `per_s` were granted in the last second."""
    slots = slots_of(1, queue_length=1000)
    (runs,) = filled(slots)
    tickets = [waiting(slots) for _ in range(per_s + ahead)]
    for number in range(per_s):
        slots._clock.now += 1 / per_s
        slots.leave(runs)
        runs = tickets[number]
    return slots


@pytest.mark.parametrize(("wait_s", "joins"), [(1.0, False), (2.5, True), (5.0, True)])
def test_nobody_waits_in_vain(wait_s: float, joins: bool):
    slots = standing(10, ahead=20)
    late = ticket(deadline=slots._clock.now + wait_s)
    assert slots.is_hopeless(late) is not joins
    assert slots.join(late) is joins
    assert slots.waiting == 20 + joins


def test_those_who_are_expected_are_before_those_who_come_meanwhile():
    slots = standing(10, ahead=20)
    last = ticket(deadline=slots._clock.now + 20.5 / slots._drain.within(1))
    assert not slots.is_hopeless(last)
    with slots.expecting(ticket()):
        assert slots.is_hopeless(last)
        assert not slots.is_hopeless(ticket("critical", deadline=last.deadline))
    assert slots.join(last)


def test_no_more_are_expected_than_may_wait():
    slots = Slots(1, queue_length=3, clock=lambda: 0)
    with ExitStack() as stack:
        for _ in range(3):
            late = ticket(deadline=1)
            assert not slots.is_hopeless(late)
            stack.enter_context(slots.expecting(late))
        assert slots.is_hopeless(ticket(deadline=1))
    assert slots.take(ticket(deadline=1))


def test_who_goes_first_waits_for_nobody_behind_it():
    slots = standing(10, ahead=20)
    deadline = slots._clock.now + 0.2
    assert slots.is_hopeless(ticket(deadline=deadline))
    assert slots.is_hopeless(ticket("sheddable", deadline=deadline))
    assert not slots.is_hopeless(ticket("critical", deadline=deadline))
    assert not slots.is_hopeless(ticket("admin", deadline=deadline))


def test_how_fast_a_queue_moves_is_unknown_until_it_has_stood_a_while():
    slots = slots_of(1)
    (runs,) = filled(slots)
    tickets = [waiting(slots) for _ in range(20)]
    assert not slots.is_hopeless(ticket(deadline=0.1))
    for number in range(20):
        slots._clock.now += 1.0
        slots.leave(runs)
        runs = tickets[number]
    # It was slow, and is over.
    assert slots.waiting == 0
    waiting(slots)
    assert not slots.is_hopeless(ticket(deadline=slots._clock.now + 0.1))


def test_newcomers_do_not_overtake_those_who_wait():
    slots = slots_of(10)
    first = filled(slots)[0]
    heavy = waiting(slots, "normal", weight=2)
    slots.leave(first)
    assert not slots.take(ticket("critical"))
    assert heavy.state is State.WAITING


def test_a_request_heavier_than_all_slots_takes_them_all():
    slots = slots_of(4)
    heavy = ticket("critical", weight=9)
    assert slots.take(heavy)
    assert slots.in_use == 4
    slots.leave(heavy)
    assert slots.in_use == 0


def test_a_ticket_whose_deadline_has_passed_is_dropped_and_not_granted():
    clock = HandClock(0)
    slots = Slots(1, 10, clock)
    (first,) = filled(slots)
    late, patient = ticket(deadline=5), ticket(deadline=50)
    slots.join(late)
    slots.join(patient)
    clock.now = 5
    slots.leave(first)
    assert (late.state, patient.state) == (State.GONE, State.GRANTED)
    assert slots.dropped == 1


def test_nobody_is_admitted_at_once_when_its_deadline_has_passed():
    assert not slots_of(1).take(ticket(deadline=0))


def test_thousands_of_passed_deadlines_are_dropped_in_one_go():
    clock = HandClock(0)
    slots = Slots(1, 10_000, clock)
    (first,) = filled(slots)
    for _ in range(5_000):
        slots.join(ticket(deadline=1))
    clock.now = 2
    slots.leave(first)
    assert (slots.dropped, slots.waiting, slots.in_use) == (5_000, 0, 0)


def test_more_slots_are_handed_out_at_once():
    slots = slots_of(0)
    early = waiting(slots)
    slots.resize(1)
    assert early.state is State.GRANTED


def test_fewer_slots_are_kept_to_as_requests_end():
    slots = slots_of(4)
    running = filled(slots)
    slots.resize(2)
    next_one = waiting(slots, "critical")
    slots.leave(running[0])
    slots.leave(running[1])
    states = [next_one.state]
    slots.leave(running[2])
    states.append(next_one.state)
    assert states == [State.WAITING, State.GRANTED]


def test_demand_counts_what_is_held_and_what_is_waited_for():
    slots = slots_of(2)
    filled(slots)
    waiting(slots, "critical")
    waiting(slots, "admin", weight=2)
    assert (slots.demand, slots.urgent_demand) == (5, 5)


@pytest.mark.parametrize("requests", [1, 8, 9, 10, 45])
def test_with_as_many_slots_as_demanded_all_requests_run_and_the_reserve_is_kept(requests):
    slots = slots_of(0)
    tickets = [waiting(slots, "normal") for _ in range(requests)]
    slots.resize(slots.demand)
    assert {one.state for one in tickets} == {State.GRANTED}
    assert slots.take(ticket("critical"))


def test_a_slot_granted_in_the_tick_in_which_its_client_leaves_goes_to_the_next():
    slots = slots_of(1)
    (first,) = filled(slots)
    leaver, patient = waiting(slots), waiting(slots)
    slots.leave(first)
    slots.drop(leaver)
    states = [(leaver.state, patient.state)]
    slots.leave(leaver)
    states.append((leaver.state, patient.state))
    assert states == [(State.GRANTED, State.WAITING), (State.GONE, State.GRANTED)]
    assert slots.in_use == 1
