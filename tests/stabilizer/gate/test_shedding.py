"""Newcomers are let in as far as critical requests keep their pace, while more come than can be."""

import random

import pytest

from stabilizer.gate import policy
from stabilizer.gate.policy import Policy
from stabilizer.gate.shedding import (
    BACK_PER_S,
    FEWEST,
    KNOWN,
    LASTING_S,
    LEAST,
    TOLERANCE,
    Pace,
    Shedding,
)
from stabilizer.gate.ticket import Budget, Level, Ticket
from tests.hand_clock import HandClock

LOOK_S = 0.1
COLLECT, ME = policy.Policy("collect", "critical"), policy.Policy("me", "normal")
FAST_S, SLOW_S = 0.004, 0.1


class Crowd:
    """A process with a clock of its own: so many newcomers come, and so many are served."""

    def __init__(self) -> None:
        self.hand = HandClock()
        self.shedding = Shedding(self.hand)
        self.let_in = 0
        self.allowed = True

    def calm(self, requests: int = KNOWN) -> "Crowd":
        for _ in range(requests):
            self.shedding.ended(COLLECT, ticket("critical"), FAST_S, calm=True)
        return self

    @property
    def sheds(self) -> bool:
        return self.shedding.sheds

    def seconds(
        self,
        seconds: float,
        *,
        come: int = 50,
        served: int = 10,
        critical: int = 20,
        critical_s: float = SLOW_S,
    ) -> "Crowd":
        """In each tenth: so many come, are served, and so many critical requests take so long."""
        for tenth in range(round(seconds / LOOK_S)):
            newcomers = [ticket(device=f"{tenth}-{number}") for number in range(come)]
            self.let_in += sum(self.shedding.admits(ME, each) for each in newcomers)
            for each in newcomers[:served]:
                self.shedding.ended(ME, each, FAST_S, calm=False)
            for each in newcomers[served:]:
                self.shedding.sent_away(ME, each)
            for _ in range(critical):
                self.shedding.ended(COLLECT, ticket("critical"), critical_s, calm=False)
            self.hand.advance(LOOK_S)
            self.shedding.look(self.allowed)
        return self


def ticket(
    level: Level = "normal", budget: Budget = "site", beside: int = 0, device: str = ""
) -> Ticket:
    made = Ticket(level, budget=budget, names=("acme", device))
    made.beside = beside
    return made


def test_all_are_let_in_while_those_who_come_are_served():
    crowd = Crowd().calm().seconds(10, come=12, served=10)
    assert crowd.shedding.share == 1
    assert crowd.let_in == 12 * 100


def test_newcomers_are_shed_where_most_are_refused_for_five_seconds_and_critical_ones_are_slow():
    crowd = Crowd().calm()
    assert not crowd.seconds(LASTING_S - LOOK_S).sheds
    assert crowd.seconds(3 * LOOK_S).sheds
    crowd.seconds(2)
    assert crowd.shedding.share == LEAST


def test_a_rush_of_seconds_that_returns_as_it_was_told_sheds_nobody():
    crowd = Crowd().calm().seconds(2, come=500).seconds(8, come=12, served=11)
    assert crowd.shedding.share == 1
    assert crowd.let_in == 500 * 20 + 12 * 80


def test_no_newcomer_is_shed_while_critical_ones_keep_their_pace():
    crowd = Crowd().calm().seconds(10, critical_s=FAST_S * TOLERANCE * 0.99)
    assert crowd.shedding.share == 1


def test_nobody_is_shed_before_the_pace_in_calm_is_known():
    crowd = Crowd().calm(KNOWN - 1).seconds(10)
    assert crowd.shedding.share == 1


def test_nobody_is_shed_where_only_a_handful_come():
    assert FEWEST > 9
    crowd = Crowd().calm()
    for _ in range(30):
        crowd.seconds(LOOK_S, come=9, served=0).seconds(0.9, come=0, served=0)
    assert crowd.shedding.share == 1


def test_nobody_is_shed_because_of_one_caller_however_often_it_comes():
    crowd = Crowd().calm()
    for _ in range(100):
        for _ in range(50):
            crowd.shedding.sent_away(ME, ticket(device="one"))
        crowd.seconds(LOOK_S, come=0)
    assert crowd.shedding.share == 1


def test_where_hardly_anything_critical_ends_all_are_let_in_again_however_many_come():
    crowd = Crowd().calm().seconds(8)
    assert crowd.shedding.share == LEAST
    crowd.seconds(15, critical=1, critical_s=FAST_S)
    assert crowd.shedding.share == 1


def test_a_step_that_is_not_allowed_ends_what_was_shed_however_many_come():
    crowd = Crowd().calm().seconds(8)
    assert crowd.shedding.share == LEAST
    crowd.allowed = False
    assert not crowd.seconds(1 + (1 - LEAST) / BACK_PER_S).sheds
    assert not crowd.seconds(8).sheds


def test_when_fewer_come_all_are_let_in_again_within_seconds():
    crowd = Crowd().calm().seconds(8)
    assert crowd.shedding.share == LEAST
    crowd.seconds(1 + (1 - LEAST) / BACK_PER_S + 2 * LOOK_S, come=1, served=1)
    assert not crowd.sheds


@pytest.mark.parametrize(
    ("rule", "who"),
    [
        (COLLECT, ticket("critical")),
        (ME, ticket("admin")),
        (ME, ticket("sheddable")),
        (ME, ticket(budget="begun")),
        (policy.DEFAULTS["login"], ticket()),
        (policy.DEFAULTS["static"], ticket()),
    ],
    ids=["critical", "admin", "sheddable", "begun", "login", "static"],
)
def test_only_newcomers_are_shed(rule: Policy, who: Ticket):
    crowd = Crowd().calm().seconds(8)
    assert crowd.shedding.share == LEAST
    assert all(crowd.shedding.admits(rule, who) for _ in range(100))


def test_of_those_who_come_the_share_is_let_in_evenly():
    crowd = Crowd()
    crowd.shedding.share = 0.25
    let_in = [crowd.shedding.admits(ME, ticket()) for _ in range(40)]
    assert [sum(let_in[each : each + 4]) for each in range(0, 40, 4)] == [1] * 10


def test_so_many_are_let_in_that_95_in_100_critical_requests_keep_their_pace():
    """Critical requests of a world in which each takes longer, the more newcomers are let in."""
    chance, crowd = random.Random(7), Crowd().calm(1_000)
    shedding, late, all_of_them = crowd.shedding, 0, 0
    bound_s = TOLERANCE * FAST_S
    for tenth in range(1_200):
        come = 50
        newcomers = [ticket(device=str(number)) for number in range(come)]
        let_in = [each for each in newcomers if shedding.admits(ME, each)]
        for each in newcomers[len(let_in) // 3 :]:
            shedding.sent_away(ME, each)
        for each in newcomers[: len(let_in) // 3]:
            shedding.ended(ME, each, FAST_S, calm=False)
        for _ in range(20):
            took_s = FAST_S * (0.5 + shedding.share * chance.expovariate(1))
            shedding.ended(COLLECT, ticket("critical"), took_s, calm=False)
            if tenth > 100:
                all_of_them += 1
                late += took_s > bound_s
        crowd.hand.advance(LOOK_S)
        shedding.look()
    assert late / all_of_them == pytest.approx(0.05, abs=0.01)
    assert LEAST < shedding.share < 1


def test_the_pace_is_what_95_in_100_take_at_most_whatever_came_first():
    chance = random.Random(3)
    for first_s in (0.000_1, 10.0):
        pace = Pace()
        pace.learn(first_s)
        for _ in range(5_000):
            pace.learn(chance.uniform(0.0, 0.1))
        assert pace.usual_s == pytest.approx(0.095, rel=0.1)


def test_a_critical_request_beside_many_or_under_pressure_says_nothing_of_the_pace_in_calm():
    crowd = Crowd().calm()
    for _ in range(1_000):
        crowd.shedding.ended(COLLECT, ticket("critical", beside=2), SLOW_S, calm=True)
        crowd.shedding.ended(COLLECT, ticket("critical"), SLOW_S, calm=False)
    assert not crowd.seconds(8, critical_s=TOLERANCE * FAST_S * 0.99).sheds
    assert crowd.seconds(8, critical_s=TOLERANCE * FAST_S * 1.5).sheds
