"""A backlog beside a stampede is measured as it says: on a real service, with a few of each."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from math import inf

import pytest
from django.conf import settings

from bench import background, dialogue, product_processes
from bench.background import Round, Sample, Size
from bench.chores import PLAIN, YIELDING
from bench.dialogue import Partner
from bench.place import Place
from bench.row import Row
from ratelimit.store import Store
from tests.stabilizer.background.conftest import eventually
from tests.stabilizer.background.crowd import Crowd, crowd


def by_name(rows: list[Row], words: str) -> Row:
    return next(row for row in rows if words in row.name)


@contextmanager
def pressed_fleet(place: Place, task: str) -> Iterator[tuple[Crowd, Partner]]:
    """Requests want all slots beside a worker with such tasks."""
    env = {**place.env, "DJANGO_SETTINGS_MODULE": "stabilizer.settings"}
    with (
        closing(Store(settings.REDIS_URL, timeout_s=2)) as store,
        crowd(store, lease_s=1) as requests,
        dialogue.partner(place, "bench.backlog", env) as backlog,
        background.worker(place, env, task),
    ):
        requests.press()
        eventually(lambda: backlog.ask("seen")["pressed"])
        yield requests, backlog


@pytest.mark.processes
def test_every_task_has_run_once_when_the_stampede_is_over(
    demo_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "QUICK", Size(devices=12, tasks=6))
    monkeypatch.setattr(product_processes, "settled", lambda read: read())
    rows = list(background.rows(demo_place))

    ran = by_name(rows, "ran in the end")
    assert (ran.ours, ran.peers) == ((6.0,), (6.0,))
    assert by_name(rows, "had run before").value == 0
    assert by_name(rows, ": served").value == 100.0
    assert all(row.value > 0 for row in rows if ", to without" in row.name)
    assert by_name(rows, "to the last task").value < background.CATCH_UP_S


@pytest.mark.processes
def test_what_is_put_back_is_seen_and_runs_when_the_pressure_is_over(demo_place: Place) -> None:
    with pressed_fleet(demo_place, YIELDING) as (requests, backlog):
        backlog.ask("publish", task=YIELDING, count=2)
        eventually(lambda: backlog.ask("seen")["yields"] >= 2)
        eventually(lambda: backlog.ask("seen")["left"] == 2)  # but for those on their way
        assert (backlog.ask("seen")["begun"], backlog.ask("runs")) == (0, [])
        requests.calm_down()
        eventually(lambda: backlog.ask("seen")["done"] == 2)
        eventually(lambda: backlog.ask("seen")["left"] == 0)
        assert backlog.ask("runs") == [1, 1]


@pytest.mark.processes
def test_plain_tasks_run_whatever_is_asked_of_the_fleet(demo_place: Place) -> None:
    with pressed_fleet(demo_place, PLAIN) as (_, backlog):
        backlog.ask("publish", task=PLAIN, count=2)
        eventually(lambda: backlog.ask("seen")["done"] == 2)
        seen = backlog.ask("seen")
        assert (seen["pressed"], seen["begun"], seen["yields"]) == (True, 2, 0)


def sample(at: float, begun: int, *, pressed: bool, yields: int = 0) -> Sample:
    return Sample(at, pressed, begun, done=begun, left=0, yields=yields)


ROUND = Round(
    report={},
    cpu_s=0,
    during=[
        sample(0, 0, pressed=False, yields=2),
        sample(1, 2, pressed=True, yields=3),
        sample(2, 3, pressed=True, yields=5),
        sample(4, 3, pressed=True, yields=9),
        sample(5, 7, pressed=False, yields=9),
    ],
    ended=5,
    after=[sample(6, 7, pressed=True, yields=10), sample(12, 8, pressed=False, yields=10)],
    tasks=8,
    runs=[1] * 8,
)


def test_only_what_begins_between_two_moments_of_pressure_begins_under_pressure() -> None:
    assert (ROUND.begun_pressed, ROUND.pressed_s, ROUND.yields) == (1, 3, 8)


@pytest.mark.parametrize(("tasks", "late_s"), [(8, 7), (7, 0), (9, inf)])
def test_a_backlog_is_late_from_the_last_device_on(tasks: int, late_s: float) -> None:
    assert replace(ROUND, tasks=tasks).late_s == late_s
