import json
import time
from threading import Barrier, Thread
from uuid import uuid4
from zlib import crc32

import pytest
from django.db import connection, transaction

import audit
from audit import entry, frames, identifier, ingest, registry, spool, verification
from audit.models import Day, DeadLetter, Event, Segment
from audit.signing import Verifier

pytestmark = pytest.mark.django_db(transaction=True)


def spoil(**fields: object) -> None:
    """Append an entry as a faulty or foreign producer might."""
    row = json.loads(entry.encode(entry.Draft(registry.ACTIONS["gate.refused"], "ok"))[1])
    for name, value in fields.items():
        row[entry._FIELDS.index(name)] = value
    spool.shared().append(frames.pack(json.dumps(row)))


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        ({"subject": "\ud800"}, "lone surrogate"),
        ({"subject": "nul\0"}, "NUL"),
        ({"user_agent": "x" * 1000}, "1000 characters"),
        ({"id": "not-an-id"}, "of a UUIDv7"),
        ({"id": uuid4().hex}, "of a UUIDv7"),
        ({"id": identifier.at(time.time() + 2 * 24 * 3600)}, "which has not come"),
        ({"at": -(10**17)}, ""),  # years before any database's calendar
    ],
)
def test_one_bad_row_in_five_hundred_costs_itself_and_no_other(poison, reason, parcels):
    for number in range(250):
        audit.record("gate.refused", subject=str(number))
    spoil(**poison)
    for number in range(250, 499):
        audit.record("gate.refused", subject=str(number))
    (parcel,) = parcels()
    assert len(parcel.entries) == 500
    assert ingest.store_segment(parcel)
    assert Event.objects.count() == 499
    letter = DeadLetter.objects.get()
    assert reason in letter.explanation
    assert letter.source == f"{parcel.spool}/0"


def test_rows_that_only_the_database_refuses_are_found_by_halving(parcels, monkeypatch):
    """As if a check of ours were missing."""
    monkeypatch.setitem(entry.LENGTHS, "subject", 1_000)
    for number in range(100):
        audit.record("gate.refused", subject=str(number))
        if number in (13, 77):
            spoil(subject="x" * 500)
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    refused = 2 if connection.vendor == "mysql" else 0
    assert list(DeadLetter.objects.values_list("reason", flat=True)) == ["refused"] * refused
    assert Event.objects.count() == 102 - refused
    report = verification.check_day(Day.objects.get(), [], Verifier())
    assert (report.events, report.fault) == (102 - refused, None)


def test_a_record_that_is_not_utf_8_costs_itself_and_no_other(parcels):
    audit.record("gate.refused", subject="before")
    text = entry.encode(entry.Draft(registry.ACTIONS["gate.refused"], "ok", subject="bad"))[1]
    payload = text.encode().replace(b'"bad"', b'"b\xffd"')
    spool.shared().append(
        frames._HEADER.pack(frames.MARKER, len(payload), crc32(payload)) + payload
    )
    audit.record("gate.refused", subject="after")
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    assert list(Event.objects.order_by("pk").values_list("subject", flat=True)) == [
        "before",
        "after",
    ]
    assert DeadLetter.objects.get().reason == "unreadable"


def test_an_event_to_be_alarmed_by_is_an_error_in_the_log(deliver, caplog):
    audit.record("audit.records_missing", "lost", subject="a spool")
    deliver()
    (line,) = [each for each in caplog.records if each.name == "audit.ingest"]
    assert line.levelname == "ERROR"
    assert "audit.records_missing" in line.getMessage()


def test_hostile_texts_said_to_record_are_all_stored(deliver):
    for text in (
        "\0",
        "\ud800",
        "\udfff\udcff",
        "😀",
        "'; DROP TABLE audit_event; --",
        "x" * 10**6,
    ):
        audit.record("gate.refused", subject=text, actor=text, detail={text[:9]: text})
    deliver()
    assert Event.objects.count() == 6
    assert not DeadLetter.objects.exists()


def test_two_workers_storing_one_segment_at_once_store_it_once(parcels):
    for number in range(500):
        audit.record("gate.refused", subject=str(number))
    (parcel,) = parcels()
    start, stored = Barrier(4), []

    def work() -> None:
        start.wait()
        stored.append(ingest.store_segment(parcel))
        connection.close()

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(stored) == [False, False, False, True]
    assert Event.objects.count() == 500
    assert Segment.objects.get().events == 500


def test_an_event_that_comes_in_two_segments_is_stored_once_and_unchanged(parcels):
    audit.record("gate.refused", subject="first")
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    row = json.loads(parcel.entries[0])
    row[entry._FIELDS.index("subject")] = "forged"
    letter = ingest.Letter(json.dumps(row), parcel.producer, "elsewhere")
    with transaction.atomic():
        assert ingest.store([letter]) == []
    assert Event.objects.get().subject == "first"


def test_a_segment_costs_a_handful_of_queries(parcels, django_assert_max_num_queries):
    for _ in range(500):
        audit.record("gate.refused")
    (parcel,) = parcels()
    with django_assert_max_num_queries(10):
        ingest.store_segment(parcel)
