import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

import audit
from audit import clock

pytestmark = pytest.mark.django_db(transaction=True)


def stats() -> dict[str, int]:
    out = StringIO()
    call_command("audit", "stats", "--json", stdout=out)
    counts: dict[str, int] = json.loads(out.getvalue())
    return counts


def test_it_says_what_is_where_on_the_way(parcels, deliver):
    for _ in range(700):
        audit.record("gate.refused")
    with transaction.atomic():
        audit.record_with_change("key.created")
    before = stats()
    assert (before["waiting_events"], before["outbox_rows"], before["stored_events"]) == (700, 1, 0)
    assert before["spool_bytes"] > 700 * 100
    parcels()  # on its way is still waiting
    assert stats()["waiting_events"] == 700


def test_when_all_is_stored_nothing_waits(deliver):
    audit.record("gate.refused")
    deliver()
    assert (stats()["waiting_events"], stats()["stored_events"]) == (0, 1)


def test_the_lag_is_the_age_of_the_oldest_record_that_is_not_in_the_trail(deliver, monkeypatch):
    began = clock.timestamp()
    for age_s in (40, 20):
        with monkeypatch.context() as then:
            then.setattr(clock, "timestamp", lambda: began - age_s)  # noqa: B023
            audit.record("gate.refused")
    assert 40 <= stats()["lag_s"] < 50
    deliver()
    assert stats()["lag_s"] == 0
    with monkeypatch.context() as then, transaction.atomic():
        then.setattr(clock, "timestamp", lambda: began - 30)
        audit.record_with_change("key.created")
    assert 30 <= stats()["lag_s"] < 40


def test_it_answers_on_a_machine_that_never_recorded():
    assert set(stats().values()) == {0, ""}


def test_for_people_it_prints_a_table(capsys):
    call_command("audit", "stats")
    assert "waiting events" in capsys.readouterr().out


def test_an_unknown_subcommand_is_refused():
    with pytest.raises(CommandError):
        call_command("audit", "explode")
