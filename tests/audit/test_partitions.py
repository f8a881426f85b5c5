"""MariaDB's manual does not list `uuid` for RANGE COLUMNS. These tests hold that it works."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction

import audit
from audit import days, partitions
from audit.models import Event

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'mysql'", reason="SQLite has no partitions"),
]


def rows(partition: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM audit_event PARTITION ({partition})")  # noqa: S608
        return int(cursor.fetchone()[0])


def test_the_days_to_come_have_a_partition_and_none_spills():
    known = partitions.of_days()
    assert known == [days.today() + timedelta(days=n) for n in range(partitions.AHEAD_DAYS + 1)]
    assert partitions.make_ahead() == 0
    assert partitions.spilled() == []


def test_an_event_lies_in_the_partition_of_its_day(deliver, clock):
    for _ in range(2):
        audit.record("gate.refused")
        clock.advance(24 * 3600)
    clock.advance(-24 * 3600)
    deliver()
    for name in (f"p{days.today() - timedelta(days=1):%Y%m%d}", f"p{days.today():%Y%m%d}"):
        assert rows(name) == 1


def test_ids_of_one_day_lie_between_its_floor_and_the_next():
    day = days.today()
    low, high = days.floor(day), days.floor(day + timedelta(days=1))
    last = f"{int(high[:12], 16) - 1:012x}7fffbfffffffffffffff"
    assert (days.of(low), days.of(last), days.of(high)) == (day, day, day + timedelta(days=1))
    assert UUID(low).version == 7


def test_the_database_orders_ids_as_their_digits(deliver):
    for _ in range(500):
        audit.record("gate.refused")
    deliver()
    keys = [key.hex for key in Event.objects.order_by("pk").values_list("pk", flat=True)]
    assert keys == sorted(keys)
    assert len(keys) == 500


def test_a_query_of_one_day_reads_one_partition():
    day = days.today()
    span = {"pk__gte": days.floor(day), "pk__lt": days.floor(day + timedelta(days=1))}
    with connection.cursor() as cursor:
        sql, params = Event.objects.filter(**span).values("pk").query.sql_with_params()
        cursor.execute(f"EXPLAIN PARTITIONS {sql}", params)
        names = [column[0] for column in cursor.description]
        (plan,) = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert plan["partitions"] == f"p{day:%Y%m%d}"


def test_partitions_are_made_as_days_pass(partitioned, clock):
    clock.advance(5 * 24 * 3600)
    assert partitions.make_ahead() == 5
    assert partitions.of_days()[-1] == days.today() + timedelta(days=partitions.AHEAD_DAYS)


def test_events_that_nobody_made_a_partition_for_are_kept_and_told(deliver, clock):
    clock.advance((partitions.AHEAD_DAYS + 1) * 24 * 3600)
    audit.record("gate.refused", subject="later than planned")
    deliver()
    assert Event.objects.get().subject == "later than planned"
    assert partitions.spilled() == ["pmax"]


def test_a_reader_holds_up_a_drop_but_a_drop_holds_up_no_reader(partitioned, monkeypatch):
    pauses: list[float] = []
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT COUNT(*) FROM audit_event")
        with pytest.raises(partitions.Busy, match="DROP PARTITION"):
            partitions._alter(lambda: "DROP PARTITION pmax", pauses.append)
        assert len(pauses) == partitions.TRIES
        with transaction.atomic():
            assert Event.objects.count() == 0
        with other.cursor() as cursor:
            cursor.execute("COMMIT")
    finally:
        other.close()
    partitions._alter(lambda: "DROP PARTITION pmax", pauses.append)
    assert len(pauses) == partitions.TRIES


def test_another_error_is_not_tried_again(partitioned):
    with pytest.raises(OperationalError):
        partitions._alter(lambda: "DROP PARTITION nonsense")


def test_a_change_that_is_there_already_is_not_made_again(partitioned):
    partitions.drop(days.today() - timedelta(days=1000))
    wanted = iter(["DROP PARTITION pmax", ""])
    partitions._alter(lambda: next(wanted))
    partitions._alter(lambda: next(wanted))
    assert partitions.make_ahead() == 0
