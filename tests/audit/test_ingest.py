import json
from threading import Barrier, Thread

import pytest
from django.db import connection

import audit
from audit import entry, frames, ingest, registry, spool
from audit.models import DeadLetter, Event, Segment

pytestmark = pytest.mark.django_db(transaction=True)


def spoil(**fields: object) -> None:
    """Append an entry as a faulty or foreign producer might."""
    row = json.loads(entry.encode(entry.Draft(registry.ACTIONS["gate.refused"], "ok"))[1])
    for name, value in fields.items():
        row[entry._FIELDS.index(name)] = value
    spool.shared().append(frames.pack(json.dumps(row)))


def nested(depth: int) -> object:
    return {"in": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        ({"subject": "\ud800"}, "lone surrogate"),
        ({"subject": "nul\0"}, "NUL"),
        ({"user_agent": "x" * 1000}, "1000 characters"),
        ({"id": "not-an-id"}, "not a UUID"),
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
    assert reason in letter.reason
    assert letter.source == f"{parcel.spool}/0"


def test_rows_that_only_the_database_refuses_are_found_by_halving(parcels):
    for number in range(100):
        audit.record("gate.refused", subject=str(number))
    spoil(detail=nested(40))  # MariaDB reads JSON 32 levels deep
    spoil(detail=nested(50))
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    refused = 2 if connection.vendor == "mysql" else 0
    assert DeadLetter.objects.count() == refused
    assert Event.objects.count() == 102 - refused


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
    assert ingest.store([letter]) == []
    assert Event.objects.get().subject == "first"


def test_a_segment_costs_a_handful_of_queries(parcels, django_assert_max_num_queries):
    for _ in range(500):
        audit.record("gate.refused")
    (parcel,) = parcels()
    with django_assert_max_num_queries(8):
        ingest.store_segment(parcel)
