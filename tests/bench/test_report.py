"""What people and programs are told of the rows."""

import json
from pathlib import Path

from rich.console import Console

from bench import report
from bench.row import Row, at_least, at_most

MET = Row("pool", "requests/s", (2_000.0, 2_200.0, 1_800.0), (400.0,) * 3, at_least(4.5), "a note")
MISSED = Row("gate", "us of CPU", (70.0, 80.0, 75.0), goal=at_most(60))
UNJUDGED = Row("memory", "bytes", (470.0,))


def drawn(*rows: Row) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(report.table("Title", rows))
    return capture.get()


def test_a_row_shows_medians_the_ratio_and_its_spread() -> None:
    line = next(line for line in drawn(MET).splitlines() if "pool" in line)

    cells = [cell.strip() for cell in line.strip("│").split("│")]
    figures = ["2,000", "400", "5", "4.5", "5.5"]
    assert cells == ["pool", "requests/s", *figures, "at least 4.5", "met"]


def test_a_missed_goal_is_said_plainly() -> None:
    line = next(line for line in drawn(MISSED).splitlines() if "gate" in line)

    assert "at most 60" in line
    assert "missed" in line


def test_a_note_stands_below_once() -> None:
    assert drawn(MET, MET, UNJUDGED).count("a note") == 1


def test_the_verdict_counts_what_was_promised_and_names_what_was_missed() -> None:
    assert report.verdict({"one": [MET, UNJUDGED], "two": [MISSED]}).splitlines() == [
        "1 of 2 goals met",
        "missed: gate: 75, at most 60",
    ]


def test_the_file_holds_a_row_each_with_its_comparison(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench.json"

    report.write({"one": [MET], "two": [MISSED, UNJUDGED]}, file)

    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["comparison"], row["name"], row["met"]) for row in rows] == [
        ("one", "pool", True),
        ("two", "gate", False),
        ("two", "memory", None),
    ]
