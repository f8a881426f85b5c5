"""The level of pressure: up soon, down slowly, no flapping; and whom the gate refuses by it."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import flags, pressures
from ratelimit.flags import Forced
from stabilizer.gate import policy
from stabilizer.gate.admission import Gate
from stabilizer.gate.pressure import (
    CALM_S,
    LONG,
    LONGEST_CALM_S,
    LOOK_EVERY_S,
    RISE_S,
    STANDING,
    Delays,
    Ladder,
    Pressure,
    Signals,
)
from stabilizer.gate.ticket import Level, Ticket
from tests.hand_clock import HandClock
from tests.stabilizer.gate.door import Door

WAIT_S = 1.5
LIST, ME, CREDENTIALS = "/api/v1/devices/", "/api/v1/me/", "/api/v1/pairings/U/credentials/"
FOR_EVER = float("inf")


class Climber:
    """A ladder that looks ten times a second by a clock of its own, and what became of it."""

    def __init__(self) -> None:
        self.hand = HandClock()
        self.ladder = Ladder(self.hand)
        self.levels = [0]

    def look(self, asked: int, held: int | None = None, seconds: float = LOOK_EVERY_S) -> int:
        for _ in range(max(1, round(seconds / LOOK_EVERY_S))):
            self.hand.advance(LOOK_EVERY_S)
            self.levels.append(self.ladder.look(asked, asked if held is None else held))
        return self.levels[-1]

    @property
    def changes(self) -> int:
        return sum(a != b for a, b in zip(self.levels, self.levels[1:], strict=False))


def test_a_load_that_stays_is_answered_within_half_a_second_and_at_once_in_full():
    climber = Climber()
    climber.look(3, seconds=0.5)
    assert climber.levels[-1] == 3
    assert climber.changes == 1


def test_a_moments_crowd_changes_nothing():
    climber = Climber()
    for _ in range(100):
        climber.look(3, seconds=RISE_S)
        climber.look(0)
    assert climber.changes == 0


def test_it_rises_no_higher_than_what_has_lasted():
    climber = Climber()
    for _ in range(20):
        climber.look(1, seconds=0.2)
        climber.look(3)
    assert set(climber.levels) == {0, 1}


def test_it_falls_by_one_level_after_each_time_of_calm():
    climber = Climber()
    climber.look(3, seconds=1)
    assert climber.look(0, seconds=CALM_S) == 3
    assert climber.look(0, seconds=0.3) == 2
    assert climber.look(0, seconds=CALM_S + 0.2) == 1
    assert climber.look(0, seconds=CALM_S + 0.2) == 0
    assert climber.changes == 4


def test_signals_that_are_only_a_little_better_hold_the_level_up():
    climber = Climber()
    climber.look(2, seconds=1)
    assert climber.look(1, held=2, seconds=600) == 2
    assert climber.changes == 1


def test_the_time_of_calm_grows_with_each_rise_soon_after_a_fall_and_starts_anew_much_later():
    climber = Climber()
    seen = []
    for _ in range(8):
        climber.look(1, seconds=1)
        seen.append(climber.ladder.calm_s)
        climber.look(0, seconds=LONGEST_CALM_S + 1)
    assert seen == [1, 2, 4, 8, 16, 30, 30, 30]
    climber.look(0, seconds=120)
    climber.look(1, seconds=1)
    assert climber.ladder.calm_s == CALM_S


def teeth(climber: Climber, level: int, high_s: float, low_s: float, total_s: float) -> None:
    ends_at = climber.hand() + total_s
    while climber.hand() < ends_at:
        climber.look(level, seconds=high_s)
        climber.look(0, seconds=low_s)


def test_a_sawtooth_changes_the_level_a_few_times_in_an_hour_and_not_with_each_tooth():
    climber = Climber()
    teeth(climber, 1, high_s=2, low_s=3, total_s=3600)
    # 720 teeth. Down after 1 and 2 s of calm, then never again.
    assert climber.changes == 5
    assert climber.levels[-1] == 1


@settings(deadline=None, max_examples=60)
@given(
    level=st.integers(1, 3),
    high_s=st.floats(0.5, 20),
    low_s=st.floats(0.2, LONGEST_CALM_S - 1),
)
def test_no_sawtooth_flaps(level: int, high_s: float, low_s: float):
    climber = Climber()
    teeth(climber, level, high_s, low_s, total_s=900)
    # The time of calm doubles five times until it outlasts any trough; a tooth is a rise, and a
    # fall from each level.
    assert climber.changes <= 6 * (1 + level) + 1


@settings(deadline=None, max_examples=60)
@given(asked=st.lists(st.integers(0, 3), min_size=600, max_size=600))
def test_noise_neither_flaps_nor_passes_what_was_asked_for(asked: list[int]):
    climber = Climber()
    for each in asked:
        climber.look(each)
    assert max(climber.levels) <= max(asked)
    # A minute; it could have been 600.
    assert climber.changes <= 30


@pytest.mark.parametrize(
    ("signals", "level"),
    [
        (Signals(), 0),
        (Signals({"normal": WAIT_S * STANDING * 0.9}), 0),
        (Signals({"normal": WAIT_S * STANDING}), 1),
        (Signals({"begun": WAIT_S * LONG, "critical": 0.0}), 2),
        (Signals({"normal": WAIT_S, "critical": WAIT_S * LONG}), 3),
        (Signals(shrunk=True), 1),
        (Signals(open_breakers=1), 1),
        (Signals(open_breakers=2), 2),
        (Signals(sheds=True), 2),
    ],
)
def test_what_the_signals_ask_for(signals: Signals, level: int):
    assert signals.level(WAIT_S) == level


def test_a_wait_between_half_a_bound_and_the_bound_holds_a_level_and_asks_for_none():
    signals = Signals({"normal": WAIT_S * LONG * 0.6})
    assert (signals.level(WAIT_S), signals.level(WAIT_S, 0.5)) == (1, 2)


def test_the_log_says_why_in_few_words():
    signals = Signals({"normal": 0.33052}, shrunk=True, open_breakers=1)
    assert str(signals) == "waits: normal 0.331 s, half of the slots away; open breakers: 1"
    assert str(Signals(sheds=True)) == "waits: none, newcomers shed; open breakers: 0"
    assert str(Signals()) == "waits: none; open breakers: 0"


def test_a_frozen_database_is_pressure_until_its_breakers_have_closed():
    climber, frozen = Climber(), Signals(open_breakers=2)
    climber.look(frozen.level(WAIT_S), seconds=10)
    assert climber.levels[-1] == 2
    climber.look(0, seconds=2 * (CALM_S + 0.2))
    assert climber.levels[-1] == 0
    assert climber.changes == 3


def waited(level: Level, waited_s: float) -> Ticket:
    ticket = Ticket(level)
    ticket.waited_s = waited_s
    return ticket


def test_one_request_that_had_not_to_wait_says_that_no_queue_stands():
    delays = Delays()
    for waited_s in (0.5, 0.0, 0.7):
        delays.count(waited("normal", waited_s))
    assert delays.take(waiting=3) == {"site": 0.0}


def test_waits_are_told_by_whose_they_were_and_those_behind_all_others_count_for_nothing():
    delays = Delays()
    delays.count(waited("critical", 0.01))
    delays.count(waited("normal", 0.3))
    delays.count(waited("sheddable", 1.4))
    delays.count(waited("admin", 1.4))
    assert delays.take(waiting=1) == {"critical": 0.01, "site": 0.3}


def test_while_nothing_ends_a_standing_queue_is_as_slow_as_it_was():
    delays = Delays()
    delays.count(waited("normal", 0.3))
    delays.take(waiting=5)
    assert delays.take(waiting=5) == {"site": 0.3}
    assert delays.take(waiting=0) == {}


# What the gate does with it.


@pytest.fixture
def press(gate, hand, monkeypatch) -> Callable[[int], None]:
    """Has the gate's process find itself at a level, once."""
    gate.control._pressing.cancel()

    def at(level: int) -> None:
        waits = {1: {"normal": 0.1}, 2: {"normal": 1.0}, 3: {"critical": 1.0}}
        pressure = gate.control.pressure
        pressure._ladder = Ladder(hand)
        monkeypatch.setattr(pressure, "_signals", lambda: Signals(waits.get(level, {})))
        for _ in range(5):
            hand.advance(LOOK_EVERY_S)
            pressure.look_now()
        assert pressure.level == level

    return at


def force(monkeypatch: pytest.MonkeyPatch, *steps: flags.Step, on: bool) -> None:
    monkeypatch.setattr(flags, "_forced", {step.name: Forced(on, FOR_EVER) for step in steps})


async def statuses(door: Door, paths: Iterable[tuple[str, str]]) -> list[int]:
    return [(await door.knock(method, path)).status for method, path in paths]


WALK = (
    ("GET", LIST),
    ("GET", ME),
    ("POST", CREDENTIALS),
    ("GET", "/admin/"),
    ("GET", "/ops/stream/"),
    ("GET", "/static/ops/dashboard.js"),
    ("GET", "/accounts/login/"),
)


@pytest.mark.parametrize(
    ("level", "served"),
    [
        (0, [200] * 7),
        (1, [200] * 7),
        (2, [503, 200, 200, 200, 200, 200, 200]),
        (3, [503, 503, 200, 200, 200, 200, 200]),
    ],
)
async def test_what_is_refused_at_each_level_and_operators_never(door, press, level, served):
    press(level)
    assert await statuses(door, WALK) == served


async def test_the_refusal_says_when_to_return_and_costs_the_caller_nothing(door, press, gate, app):
    press(2)
    before = gate.control.slots.in_use
    reply = await door.knock("GET", LIST)
    assert (reply.status, reply.problem["code"]) == (503, "overloaded")
    assert int(reply["retry-after"]) == reply.problem["retry_after"] >= 1
    assert reply["content-type"] == "application/problem+json"
    assert app.paths == []
    assert gate.control.slots.in_use == before
    counts = gate.control.observer.take()
    assert counts["refusals", "devices.list", "pressure"] == 1


@pytest.fixture
async def by_hand(gates, app, hand) -> Gate:
    """A gate whose moments are made by hand, and that looks for its pressure when it is told to."""
    gate = await gates(app, clock=hand)
    gate.control._pressing.cancel()
    return gate


def look(gate: Gate, hand: HandClock, times: int = 5) -> None:
    for _ in range(times):
        hand.advance(LOOK_EVERY_S)
        gate.control.pressure.look_now()


async def test_a_newcomer_who_is_shed_hears_when_to_return_and_what_is_critical_is_served(
    by_hand, app
):
    by_hand.control.shedding.share = 0.5
    door = Door(by_hand)
    replies = [await door.knock("GET", ME) for _ in range(4)]
    assert [reply.status for reply in replies] == [503, 200, 503, 200]
    assert replies[0].problem["code"] == "overloaded"
    assert int(replies[0]["retry-after"]) >= 1
    assert (await door.knock("POST", CREDENTIALS)).status == 200
    assert app.paths == [ME, ME, CREDENTIALS]
    counts = by_hand.control.observer.take()
    assert counts["refusals", "me", "shedding"] == 2


async def test_who_returns_when_it_was_told_to_is_not_shed(by_hand, hand):
    door = Door(by_hand)
    by_hand.control.shedding.share = 0.0
    refused = await door.knock("GET", ME)
    hand.advance(int(refused["retry-after"]))
    assert (await door.knock("GET", ME)).status == 200
    assert (await door.knock("GET", ME)).status == 503


async def test_operators_log_in_while_newcomers_are_shed(by_hand):
    by_hand.control.shedding.share = 0.0
    assert await statuses(Door(by_hand), WALK[3:]) == [200] * 4


async def test_while_newcomers_are_shed_lists_are_refused_before_them(by_hand, hand):
    by_hand.control.shedding.share = 0.5
    look(by_hand, hand)
    by_hand.control.shedding.share = 0.99
    assert by_hand.control.pressure.level == 2
    assert await statuses(Door(by_hand), [("GET", ME), ("GET", LIST), ("GET", ME)]) == [
        503,
        503,
        200,
    ]


@pytest.mark.parametrize(("level", "allowed"), [(1, False), (2, True)])
async def test_newcomers_are_shed_from_level_2_on(by_hand, hand, monkeypatch, level, allowed):
    told: list[bool] = []
    monkeypatch.setattr(by_hand.control.shedding, "look", told.append)
    by_hand.control.pressure.level = level
    by_hand.control.pressure.look_now()
    assert told == [allowed]


async def test_a_flag_that_is_forced_off_forbids_it_at_every_level(by_hand, hand, monkeypatch):
    force(monkeypatch, flags.NEWCOMERS_SHED, on=False)
    told: list[bool] = []
    monkeypatch.setattr(by_hand.control.shedding, "look", told.append)
    by_hand.control.pressure.level = 3
    by_hand.control.pressure.look_now()
    assert told == [False]


async def test_those_who_are_refused_return_as_a_ramp(door, press):
    press(3)
    waits = [int((await door.knock("GET", ME))["retry-after"]) for _ in range(200)]
    assert len(set(waits)) >= 3


async def test_the_application_is_told_the_level(door, press):
    press(1)
    reply = await door.knock("GET", ME)
    assert reply.admission is not None
    assert reply.admission.pressure == 1


async def test_a_step_that_is_forced_off_refuses_nobody(door, press, monkeypatch):
    force(monkeypatch, flags.SHEDDABLE_REFUSED, flags.ONLY_CRITICAL, on=False)
    press(3)
    assert await statuses(door, WALK) == [200] * 7


async def test_a_step_that_is_forced_on_is_taken_without_any_pressure(door, press, monkeypatch):
    force(monkeypatch, flags.ONLY_CRITICAL, on=True)
    press(0)
    assert await statuses(door, WALK) == [503, 503, 200, 200, 200, 200, 200]


async def test_a_policy_that_an_admin_made_normal_is_not_shed_with_the_sheddable(door, press):
    lists = policy.Policy("devices.list", "normal")
    policy.table.swap({**policy.DEFAULTS, "devices.list": lists})
    press(2)
    assert await statuses(door, [("GET", LIST)]) == [200]


async def test_the_fleet_hears_of_a_level_at_once_and_then_each_second(store, hand):
    signals = Signals(open_breakers=1)
    pressure = Pressure(store, "host:1:x", lambda: signals, WAIT_S, hand)
    told = []
    for _ in range(25):
        told.append(pressure._look())
        hand.advance(LOOK_EVERY_S)
    # The first word, the rise, and twice because a second has passed.
    assert [at for at, each in enumerate(told) if each] == [0, 3, 13, 23]
    pressure._told = -1
    await pressure.look()
    assert await pressures.levels(store) == {"host:1:x": 1}
    assert pressures.fleet_level(store) == 1


async def test_without_redis_a_process_finds_its_level_alone(hand):
    from ratelimit.store import Store

    away = Store("redis://127.0.0.1:1/0")
    pressure = Pressure(away, "host:1:x", lambda: Signals(open_breakers=1), WAIT_S, hand)
    for _ in range(6):
        await pressure.look()
        hand.advance(LOOK_EVERY_S)
    assert pressure.level == 1
    away.close()
