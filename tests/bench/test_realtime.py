"""What waiting devices cost is measured as it says: on real gateways, with a few devices."""

import pytest

from bench import beside, dialogue, holding, product_processes, pushing, restarting
from bench.crowd import Told
from bench.place import MeasureFailed, Place
from bench.row import Row
from tests.bench.conftest import SUBSCRIBERS

processes_needed = pytest.mark.processes
APPROVALS = SUBSCRIBERS


@pytest.fixture
def place(demo_place: Place) -> Place:
    return demo_place


def by_name(rows: list[Row], words: str) -> Row:
    return next(row for row in rows if words in row.name)


@processes_needed
@pytest.mark.alone
def test_waiting_devices_are_weighed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "QUICK_WAITING", 30)
    monkeypatch.setattr(holding, "QUICK_COMING", 30)
    monkeypatch.setattr(holding, "QUIET_S", 0.1)
    rows = list(holding.rows(place))

    assert len(rows) == 9
    assert all(row.value > 0 for row in rows if "memory kept" not in row.name)
    # So few that their batches are small ones.
    assert by_name(rows, "queries for each").value < 1
    assert len(by_name(rows, "queries for each").ours) == holding.CYCLES


@processes_needed
def test_a_push_is_timed_from_its_commit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # They come at the first approval, so that some are made meanwhile.
    size = pushing.Size(waiting=40, approvals=APPROVALS, per_s=60, coming=40, come_after_s=0)
    monkeypatch.setattr(pushing, "QUICK", size)
    rows = list(pushing.rows(place))

    assert [row.value for row in rows if row.unit == "%"] == [100.0] * 3
    pushes = [row.value for row in rows if row.unit == "ms"]
    assert len(pushes) == 4
    assert all(0 < ms < 5_000 for ms in pushes)


@processes_needed
def test_everybody_is_back_after_a_rolling_restart(place: Place) -> None:
    rows = list(restarting.restarted(place, 8))

    assert by_name(rows, "wait again").value == 100.0
    assert by_name(rows, "refused").value == 0
    assert by_name(rows, "until everybody").value > 0
    # Those of the process that went first may be told a second time.
    assert any(f"{byes} byes" in rows[1].note for byes in range(8, 17))


@processes_needed
def test_the_stampede_beside_those_who_wait_is_compared_with_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "QUICK_WAITING", 20)
    monkeypatch.setattr(beside, "QUICK_DEVICES", 10)
    monkeypatch.setattr(product_processes, "settled", lambda read: read())
    (row,) = beside.rows(place)

    assert row.goal is not None
    assert len(row.ratios) == 1
    assert row.value > 0
    assert "at least 100 % beside and 100 % alone" in row.note


@processes_needed
def test_a_process_that_fails_says_why(place: Place) -> None:
    with (
        dialogue.partner(place, "bench.waiting", place.env) as partner,
        pytest.raises(MeasureFailed, match="no_such_act"),
    ):
        partner.ask("no_such_act")


def told(**changed: object) -> Told:
    said = {"devices": 4, "waiting": 4, "told": 4, "broken": {}, "others": {}}
    return Told(**(said | changed))


def test_a_return_in_time_is_answered_within_a_second() -> None:
    assert restarting._in_time_percent(told(late_s=(0.0, 0.4, 1.0, 1.1))) == 75.0


def test_a_return_that_was_never_answered_is_not_in_time() -> None:
    assert restarting._in_time_percent(told(late_s=(0.1, 0.1))) == 50.0


def test_a_restart_of_which_nobody_heard_is_no_measure() -> None:
    with pytest.raises(MeasureFailed, match="nobody was told"):
        restarting._in_time_percent(told(told=0))


def test_what_devices_say_is_told_in_words() -> None:
    assert str(told(waiting=3, broken={"refused": 1})) == "3 of 4 wait (1 refused)"
