"""The comparison claims what tests show."""

import re

import pytest

from stabilizer.env import ROOT

DOCUMENT = ROOT / "docs" / "comparison.md"
ROWS = [
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| feature")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_yes_of_ours_leads_to_a_test(row: list[str]):
    assert len(row) == 10
    ours = row[-1]
    if ours.startswith("no"):
        return
    found = re.fullmatch(r"\[(?:yes|in part)[^\]]*\]\(\.\./(tests/[\w/]+\.py)(?:#(\w+))?\)", ours)
    assert found, ours
    text = (ROOT / found[1]).read_text(encoding="utf-8")
    assert f"def {found[2]}(" in text if found[2] else "def test_" in text


def test_it_compares_with_what_is_there():
    assert len(ROWS) > 30
