"""`manage.py policy`: for people a line, for programs JSON, an exit status and stable codes."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from ratelimit import rollouts
from ratelimit.models import Rollout
from ratelimit.rollouts import Figures

pytestmark = pytest.mark.django_db


def run(*words: str) -> tuple[int, list[dict]]:
    """The exit status, and what a program reads."""
    out = StringIO()
    status = 0
    try:
        call_command("policy", *words, "--json", stdout=out)
    except SystemExit as ended:
        status = int(str(ended.code))
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "draft.toml"
    path.write_text('["pairing.create"]\nlimits.udid = {quantity = 3}\n')
    return str(path)


def test_a_roll_out_is_begun_looked_at_moved_and_given_up(file):
    assert run("rollout", "status") == (1, [])
    status, [begun] = run("rollout", "start", file, "--bound", "2.5", "--least", "50")
    assert (status, begun["stage"], begun["bound"], begun["least"]) == (0, "shadow", 2.5, 50)
    rollouts.note(Rollout.objects.get(), Figures(95, 5))
    status, [seen] = run("rollout", "status")
    assert (status, seen["admitted"], seen["refused"], seen["share"]) == (0, 95, 5, 5.0)
    assert run("rollout", "advance", "--percent", "30")[1][0]["percent"] == 30
    status, [ended] = run("rollout", "abort", "--why", "too strict")
    assert (status, ended["stage"], ended["why"]) == (0, "aborted", "too strict")
    assert run("rollout", "status")[0] == 1


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["advance"], 1, "not_running"),
        (["abort"], 1, "not_running"),
        (["start", "nowhere.toml"], 2, "unreadable"),
        (["start", "FILE", "--bound", "101"], 2, "bad_value"),
        (["start", "TWO"], 2, "several_policies"),
    ],
)
def test_what_cannot_be_done_has_a_status_and_a_code(file, tmp_path, words, status, code):
    two = tmp_path / "two.toml"
    two.write_text("me.wait_ms = 1\ndocs.wait_ms = 1\n")
    given = [{"FILE": file, "TWO": str(two)}.get(word, word) for word in words]
    ended, [said] = run("rollout", *given)
    assert (ended, said["error"]) == (status, code)
    assert rollouts.live() is None


def test_a_second_roll_out_is_refused(file):
    run("rollout", "start", file)
    assert run("rollout", "start", file)[0] == 1
    assert run("rollout", "advance", "--percent", "100")[1][0]["error"] == "bad_percent"


@pytest.mark.parametrize("since", ["yesterday", "24", "9999-01-01", "2026-13-01"])
def test_a_backtest_needs_a_time_in_the_past(file, since):
    status, [said] = run("backtest", file, "--since", since)
    assert (status, said["error"]) == (2, "bad_value")


def test_people_read_lines(file):
    out = StringIO()
    call_command("policy", "rollout", "start", file, stdout=out)
    assert "pairing.create: shadow, 0 % of tenants; 0 of 0 refused" in out.getvalue()
