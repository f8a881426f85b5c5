"""Statements that are put together once do what the ORM's own do, on each engine."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from audit import statements
from audit.models import Event, Outbox, Segment
from audit.statements import Unmatched

pytestmark = [pytest.mark.django_db, pytest.mark.embedded]
AT = datetime(2026, 11, 22, 10, 0, 0, 123_456, UTC)
HOSTILE = "s' OR '1'='1 %s %(x)s \\"


def event(**facts):
    facts = {"at": AT, "action": "pairing.created", "outcome": "ok", "subject": "s", **facts}
    return Event(severity="info", producer="p", entry='{"a": "ü"}', number=1, hash="", **facts)


def put_and_change(where):
    with transaction.atomic():
        statements.insert(Outbox(producer="q", entry="{}"), postponed=True)
        statements.must_update(Outbox, where, {"entry": "[]"})


def columns(row):
    return [getattr(row, field.attname) for field in Event._meta.concrete_fields]


def test_insert_stores_every_column_as_save_does():
    row = event()
    statements.insert(row)
    assert columns(Event.objects.get(pk=row.pk)) == columns(row)
    assert not row._state.adding


def test_insert_leaves_a_generated_key_to_the_database():
    for number in (1, 2):
        segment = {"spool": "s", "start_byte": 0, "end_byte": 1, "events": 1, "damaged": 0}
        statements.insert(Segment(number=number, **segment))
    assert Segment.objects.count() == 2


def test_a_value_is_data_and_never_a_part_of_the_statement():
    row, other = event(subject=HOSTILE), event()
    statements.insert(row)
    statements.insert(other)
    assert statements.update(Event, {"subject": HOSTILE}, {"outcome": HOSTILE[:16]}) == 1
    other.refresh_from_db()
    assert other.outcome == "ok"


def test_update_changes_only_the_rows_that_are_as_described_and_counts_them():
    first, second = event(outcome="ok"), event(outcome="refused")
    statements.insert(first)
    statements.insert(second)
    where = {"id": first.pk, "outcome": "ok"}
    assert statements.update(Event, where, {"outcome": "late", "subject_version": 2}) == 1
    assert statements.update(Event, where, {"outcome": "late", "subject_version": 3}) == 0
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.outcome, first.subject_version, second.outcome) == ("late", 2, "refused")


def test_update_counts_a_row_that_already_held_the_new_values():
    row = event()
    statements.insert(row)
    assert statements.update(Event, {"id": row.pk}, {"outcome": row.outcome}) == 1


def test_a_row_that_must_be_changed_is_changed():
    statements.insert(row := Outbox(producer="p", entry="{}"))
    with transaction.atomic():
        statements.must_update(Outbox, {"id": row.pk, "producer": "p"}, {"entry": "[]"})
    assert Outbox.objects.get().entry == "[]"


def test_who_must_change_a_row_that_is_different_by_now_changes_nothing():
    statements.insert(row := Outbox(producer="p", entry="{}"))
    with pytest.raises(Unmatched):
        put_and_change({"id": row.pk, "producer": "r"})
    assert Outbox.objects.get().entry == "{}"


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_is_told_at_once():
    with pytest.raises(Unmatched):
        statements.must_update(Outbox, {"producer": "nobody"}, {"entry": "[]"})


def test_statements_are_seen_by_djangos_query_log(django_assert_num_queries):
    with django_assert_num_queries(2) as log:
        statements.insert(Outbox(producer="p", entry="{}"))
        statements.update(Outbox, {"producer": "p"}, {"entry": "[]"})
    assert [query["sql"][:6] for query in log.captured_queries] == ["INSERT", "UPDATE"]
