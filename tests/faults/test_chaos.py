"""Whatever dies, and when: what was answered is in the trail, once."""

import json
import os
import subprocess
import sys

import pytest

from dev.chaos.__main__ import is_right
from dev.chaos.faults import KINDS
from stabilizer.env import ROOT
from tests.stabilizer.processes import TRACE

pytestmark = pytest.mark.processes
ROUNDS = 20


def test_twenty_rounds_of_kill_9_lose_and_double_nothing():
    """`python -m dev.chaos` makes 200 of them."""
    command = [sys.executable, "-m", "dev.chaos", "--rounds", str(ROUNDS), "--json"]
    env = {**os.environ, TRACE: ""}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    report = json.loads(run.stdout)
    assert run.returncode == 0, report
    assert sum(report["rounds"].values()) == ROUNDS
    assert len(report["rounds"]) == len(KINDS)
    assert min(report["rounds"].values()) >= ROUNDS // len(KINDS)
    # There was something that could have been lost.
    assert report["answered"] > 100
    assert report["events"] > report["answered"]


@pytest.mark.parametrize("wrong", ["lost", "doubled", "gaps", "still_waiting", "slots_kept"])
def test_a_single_flaw_fails_the_run(wrong):
    right = dict.fromkeys(
        ("lost", "doubled", "still_waiting", "dead_letters", "gaps", "faults", "slots_kept"), 0
    )
    assert is_right(right)
    assert not is_right(right | {wrong: 1})
