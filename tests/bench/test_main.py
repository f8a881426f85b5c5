"""`python -m bench`: what is measured, and what its exit status means."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import bench.__main__ as command
from bench.place import MeasureFailed, Place
from bench.row import Row, at_least


class NoPlace(Place):
    """A place without servers."""

    def forget(self) -> None:
        pass


def missing(place: Place) -> Iterator[Row]:
    yield Row("slow", "requests/s", (1.0,), (2.0,), at_least(1))


def failing(place: Place) -> Iterator[Row]:
    yield Row("never told", "s", (1.0,))
    raise MeasureFailed("the server did not start")


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of results; the comparisons are one that misses its goal and one that fails."""
    comparisons = {"missing": ("Slow", missing), "failing": ("Broken", failing)}
    monkeypatch.setattr(command, "COMPARISONS", comparisons)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "bench.json")
    return tmp_path / "bench.json"


def measured(*names: str) -> tuple[int, str]:
    console = Console(width=100)
    with console.capture() as capture:
        status = command.measure(NoPlace({}, Path("unused")), names, console)
    return status, capture.get()


def test_a_missed_goal_is_told_and_is_no_failure(results: Path) -> None:
    status, told = measured("missing")

    assert status == 0
    assert "0 of 1 goals met" in told
    assert "missed: slow" in told
    assert [row["met"] for row in json.loads(results.read_text())] == [False]


def test_what_cannot_be_measured_is_a_failure_and_stops_no_other(results: Path) -> None:
    status, told = measured("failing", "missing")

    assert status == 1
    assert "failing could not be measured: the server did not start" in told
    assert [row["name"] for row in json.loads(results.read_text())] == ["slow"]


def test_an_unknown_comparison_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["--only", "everything"])

    assert refused.value.code == 2
    assert "admission" in capsys.readouterr().err
