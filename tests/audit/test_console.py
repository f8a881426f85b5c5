"""`manage.py audit`: for people a table, for programs JSON lines and an exit status."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import audit
from audit import checkpoints, days, outbox, partitions
from audit.models import DeadLetter, Event, Hold
from tests.audit.test_deadletters import poison

pytestmark = pytest.mark.django_db(transaction=True)
DAY_S = 24 * 3600


def run(*words: str) -> tuple[int, str]:
    """The exit status, and what was said."""
    out = StringIO()
    try:
        call_command("audit", *words, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def lines(*words: str, status: int = 0) -> list[dict[str, Any]]:
    """What a program reads."""
    ended, said = run(*words, "--json")
    assert ended == status
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def trail(deliver: Callable[[], None], settings: Any, tmp_path: Path) -> None:
    settings.AUDIT_CHECKPOINT_DIR = tmp_path / "checkpoints"
    for number in range(30):
        audit.record("gate.refused", subject=f"tv-{number}", detail={"number": number})
    audit.record("login.failed", subject="anna", actor="person:1")
    deliver()
    checkpoints.write(settings.AUDIT_CHECKPOINT_DIR)


@pytest.fixture
def letter(deliver: Callable[[], None]) -> DeadLetter:
    from audit import frames, spool

    spool.shared().append(frames.pack(poison(subject="x" * 201)))
    deliver()
    return DeadLetter.objects.get()


def test_verify_of_a_trail_that_is_right_ends_with_0(trail: None):
    (report,) = lines("verify")
    assert (report["events"], report["checkpoints"], report["fault"]) == (31, 1, None)
    assert "ok" in run("verify")[1]


def test_verify_names_the_first_bad_row_ends_with_1_and_tells_the_trail(
    trail: None, deliver: Callable[[], None]
):
    Event.objects.filter(number=9).update(subject="nobody")
    (report,) = lines("verify", status=1)
    assert (report["fault"]["number"], report["fault"]["wrong"]) == (9, "altered")
    assert "number 9" in run("verify")[1]
    deliver()
    told = Event.objects.filter(action="audit.chain_broken")
    assert [each.severity for each in told] == ["critical", "critical"]  # asked twice


def test_verify_ends_with_2_when_it_cannot_be_asked(trail: None, tmp_path: Path):
    assert "error" in lines("verify", "--public-key", "nonsense", status=2)[0]
    (tmp_path / "2026-01.jsonl").write_text("no checkpoint\n")
    (answer,) = lines("verify", "--checkpoints", str(tmp_path), status=2)
    assert "2026-01.jsonl:1" in answer["error"]


def test_verify_says_when_nothing_guards_the_tail(trail: None, tmp_path: Path):
    status, said = run("verify", "--checkpoints", str(tmp_path / "none"))
    assert (status, "would not be noticed" in said) == (0, True)


def test_verify_of_other_days_finds_nothing(trail: None):
    assert lines("verify", "--last", "2020-01-01") == []


def test_tail_shows_the_latest_with_the_oldest_first(trail: None):
    shown = lines("tail", "-n", "3")
    assert [event["subject"] for event in shown] == ["tv-28", "tv-29", "anna"]
    assert shown[0]["detail"] == {"number": 28}
    assert [event["subject"] for event in lines("tail", "--actor", "person:1")] == ["anna"]
    assert "login.failed" in run("tail", "-n", "1")[1]


def test_tail_shows_an_event_whose_entry_somebody_wrote_over(trail: None):
    Event.objects.filter(subject="anna").update(entry="nonsense")
    (event,) = lines("tail", "-n", "1")
    assert (event["subject"], event["detail"]) == ("anna", None)


def test_retention_says_what_is_due_and_drops_it(
    trail: None, partitioned: None, clock: Any, settings: Any
):
    day = days.today()
    clock.advance(91 * DAY_S)
    partitions.make_ahead()
    assert lines("retention", "--dry-run")[0]["what"] == "due"
    assert lines("retention") == [
        {"day": str(day), "what": "dropped", "events": 31, "explanation": ""}
    ]
    assert lines("retention") == []


def test_retention_ends_with_1_when_a_day_has_to_stay(trail: None, partitioned: None, clock: Any):
    day = str(days.today())
    (placed,) = lines("hold", "place", day, day, "--reason", "case 1", "--owner", "court")
    clock.advance(91 * DAY_S)
    partitions.make_ahead()
    (outcome,) = lines("retention", status=1)
    assert outcome["what"] == "held"
    assert [hold["id"] for hold in lines("hold", "list")] == [placed["id"]]
    assert lines("hold", "release", str(placed["id"])) == []
    assert lines("hold", "release", str(placed["id"]), status=2) == [{"error": "no_such_hold"}]
    assert lines("hold", "list") == []


def test_a_hold_that_ends_before_it_begins_is_refused():
    words = ("2026-01-02", "2026-01-01", "--reason", "x", "--owner", "y")
    assert lines("hold", "place", *words, status=2) == [{"error": "days_out_of_order"}]
    assert not Hold.objects.exists()


def test_dead_letters_are_listed_and_shown(letter: DeadLetter):
    (listed,) = lines("dlq", "list")
    assert (listed["id"], listed["reason"]) == (letter.pk, "unreadable")
    assert lines("dlq", "list", "--reason", "late") == []
    assert lines("dlq", "show", str(letter.pk))[0]["entry"] == letter.entry
    assert "201 characters" in run("dlq", "show", str(letter.pk))[1]
    assert lines("dlq", "show", "0", status=2) == [{"error": "no_such_letter"}]


def test_dead_letters_are_replayed_and_dropped_only_if_they_are_named(letter: DeadLetter):
    assert lines("dlq", "replay", status=2) == [{"error": "none_chosen"}]
    assert lines("dlq", "drop", "--why", "x", status=2) == [{"error": "none_chosen"}]
    assert lines("dlq", "replay", "--all", status=1) == [{"stored": 0, "dead": 1}]
    DeadLetter.objects.update(entry=poison(subject="mended"))
    assert lines("dlq", "replay", str(letter.pk)) == [{"stored": 1, "dead": 0}]
    assert Event.objects.filter(subject="mended").count() == 1


def test_dropped_letters_are_gone_and_the_trail_knows(letter: DeadLetter):
    words = ("--reason", "unreadable", "--why", "a bug of theirs")
    assert lines("dlq", "drop", *words) == [{"dropped": 1}]
    outbox.move()
    assert Event.objects.get(action="audit.letters_dropped").detail["why"] == "a bug of theirs"


def test_one_round_of_shipping_says_what_it_did(redis_client: Any):
    audit.record("gate.refused")
    assert lines("ship", "--once") == [{"sent": 1, "freed": 0, "unconfirmed": 1}]


def test_an_unknown_subcommand_is_refused():
    with pytest.raises(CommandError):
        call_command("audit", "explode")
