"""Events for others, and what proves them."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command

import audit
from audit import chain, export
from audit.chain import Link
from audit.models import Event
from audit.search import Search

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def events(deliver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 4)
    for number in range(10):
        audit.record("gate.refused", subject=f"tv-{number}", detail={"number": number})
    deliver()


def documents(search: Search, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export.lines(search, "jsonl", **options)]


def test_all_events_come_once_and_in_order(events):
    assert [each["subject"] for each in documents(Search())] == [f"tv-{n}" for n in range(10)]


def test_whoever_has_them_can_prove_the_chain(events):
    link = chain.START
    for each in documents(Search()):
        link = link.next(each["producer"], each["entry"])
        assert link == Link(each["number"], each["hash"])


def test_they_are_found_by_value_and_time(events, clock):
    assert [each["subject"] for each in documents(Search({"subject": "tv-3"}))] == ["tv-3"]
    assert documents(Search(since=clock.now() + timedelta(hours=1))) == []
    assert documents(Search(until=clock.now() - timedelta(hours=1))) == []
    span = Search(since=clock.now() - timedelta(hours=1), until=clock.now() + timedelta(hours=1))
    assert len(documents(span, most=7)) == 7
    assert len(documents(Search(since=datetime(1960, 1, 1, tzinfo=UTC)))) == 10


def test_csv_has_every_column_and_no_formula(deliver):
    audit.record("gate.refused", subject="=1+1", actor="+x", detail={"a": "é"})
    deliver()
    lines = "".join(export.lines(Search(), "csv"))
    (row,) = csv.DictReader(io.StringIO(lines))
    assert list(row) == list(export.COLUMNS)
    assert (row["subject"], row["actor"], json.loads(row["detail"])) == ("'=1+1", "'+x", {"a": "é"})
    assert row["id"] == Event.objects.get().pk.hex


def test_the_command_writes_a_file_and_says_how_many(events, tmp_path, deliver, capsys):
    path = tmp_path / "trail.csv"
    call_command("audit", "export", "--format", "csv", "--out", str(path), "--json")
    assert json.loads(capsys.readouterr().out) == {"events": 10}
    assert len(path.read_text().splitlines()) == 11
    deliver()
    told = Event.objects.get(action="audit.exported")
    assert (told.actor, told.detail["events"]) == ("command:audit export", 10)


def test_the_command_writes_to_standard_output_what_was_asked_for(events, capsys):
    call_command("audit", "export", "--subject", "tv-3", "--since", "2026-01-01")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["subject"] == "tv-3"


def test_a_file_that_cannot_be_written_ends_with_2(events, capsys):
    with pytest.raises(SystemExit) as ended:
        call_command("audit", "export", "--out", "/nowhere/trail", "--json")
    assert ended.value.code == 2
    assert json.loads(capsys.readouterr().out) == {"error": "cannot_write"}
