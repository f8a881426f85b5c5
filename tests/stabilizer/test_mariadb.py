"""Transactions on MariaDB: what they keep, and how many round trips they take."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from MySQLdb.connections import Connection

from audit import statements
from audit.models import Outbox
from audit.statements import Unmatched
from stabilizer.pool import Pool

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def mariadb() -> None:
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no round trips.")


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is sent to the server, in the order in which it goes."""
    connection.ensure_connection()
    sent: list[bytes] = []
    for name in ("query", "commit", "rollback", "autocommit"):
        monkeypatch.setattr(Connection, name, _told(getattr(Connection, name), name, sent))
    return sent


def _told(act: Callable[..., Any], name: str, sent: list[bytes]) -> Callable[..., Any]:
    def told(*args: Any) -> Any:
        sent.append(args[1] if name == "query" else name.upper().encode())
        return act(*args)

    return told


def first_words(sent: list[bytes]) -> list[list[str]]:
    return [[part.split()[0].decode() for part in each.split(b"; ")] for each in sent]


def put(name: str, *, postponed: bool = False) -> None:
    statements.insert(Outbox(producer=name, entry="{}"), postponed=postponed)


def stored() -> list[str]:
    return sorted(Outbox.objects.values_list("producer", flat=True))


@contextmanager
def seen_by_another() -> Iterator[Any]:
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def count_elsewhere() -> int:
    with seen_by_another() as cursor:
        cursor.execute("SELECT COUNT(*) FROM audit_outbox")
        return int(cursor.fetchone()[0])


def fail_after(*writes: Callable[[], object]) -> None:
    """A transaction that makes these writes and then raises."""
    with transaction.atomic():
        for write in writes:
            write()
        raise ZeroDivisionError


def whole(*writes: Callable[[], object]) -> None:
    """A transaction that makes these writes."""
    with transaction.atomic():
        for write in writes:
            write()


def late(name: str) -> Callable[[], object]:
    return lambda: put(name, postponed=True)


def change_nobody() -> None:
    """A change that must be made, and cannot be."""
    statements.must_update(Outbox, {"producer": "nobody"}, {"entry": "[]"})


def put_twice(*, and_then: Callable[[], object] = lambda: None) -> None:
    """A transaction with one row too many of one key, which is postponed."""
    row = Outbox(producer="a", entry="{}")
    with transaction.atomic():
        put("first")
        statements.insert(row, postponed=True)
        statements.insert(row, postponed=True)
        and_then()


def test_begin_travels_with_the_first_statement(round_trips):
    with transaction.atomic():
        put("a")
        put("b")
    assert first_words(round_trips) == [["BEGIN", "INSERT"], ["INSERT"], ["COMMIT"]]
    assert stored() == ["a", "b"]


def test_postponed_writes_travel_with_the_next_statement_or_with_commit(round_trips):
    with transaction.atomic():
        put("a", postponed=True)
        put("b", postponed=True)
        assert statements.update(Outbox, {"producer": "a"}, {"entry": "[]"}) == 1
        put("c", postponed=True)
    assert first_words(round_trips) == [
        ["BEGIN", "INSERT", "INSERT", "UPDATE"],
        ["INSERT", "COMMIT"],
    ]
    assert stored() == ["a", "b", "c"]


def test_the_driver_is_not_asked_for_results_that_nobody_sends(monkeypatch):
    asked: list[bytes] = []
    monkeypatch.setattr(Connection, "next_result", _told(Connection.next_result, "next", asked))
    statements.insert(row := Outbox(producer="a", entry="{}"))
    with transaction.atomic():
        statements.must_update(Outbox, {"id": row.pk}, {"producer": "b"})
        put("c", postponed=True)
    assert stored() == ["b", "c"]
    assert asked == []


def test_results_that_nobody_has_fetched_are_not_in_the_way_of_the_next_statement():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1; SELECT 2; SELECT 3")
        assert cursor.fetchall() == ((1,),)
    assert stored() == []


def test_a_transaction_that_says_nothing_costs_nothing(round_trips):
    with transaction.atomic():
        pass
    with pytest.raises(ZeroDivisionError):
        fail_after()
    assert round_trips == []


def test_a_transaction_whose_only_writes_are_postponed_is_one_round_trip(round_trips):
    with transaction.atomic():
        put("a", postponed=True)
    assert first_words(round_trips) == [["BEGIN", "INSERT", "COMMIT", "END"]]
    assert count_elsewhere() == 1


def test_a_change_that_must_be_made_travels_with_what_follows_it(round_trips):
    statements.insert(row := Outbox(producer="a", entry="{}"))
    with transaction.atomic():
        statements.must_update(Outbox, {"id": row.pk}, {"producer": "b"})
        put("c", postponed=True)
    (travelled,) = first_words(round_trips[1:])
    assert travelled == ["BEGIN", "UPDATE", "IF", "END", "INSERT", "COMMIT", "END"]
    assert stored() == ["b", "c"]


def test_a_change_that_could_not_be_made_takes_the_transaction_with_it():
    put("a")
    with pytest.raises(Unmatched):
        whole(late("b"), change_nobody, late("c"))
    assert stored() == ["a"]
    put("d")
    assert count_elsewhere() == 2


def test_a_change_that_could_not_be_made_is_told_by_the_next_statement(round_trips):
    with pytest.raises(Unmatched):
        whole(change_nobody, lambda: put("a"))
    assert first_words(round_trips) == [["BEGIN", "UPDATE", "IF", "END", "INSERT"], ["ROLLBACK"]]
    assert stored() == []


def test_an_inner_block_whose_change_could_not_be_made_takes_only_its_own_writes_with_it():
    with transaction.atomic():
        put("outer", postponed=True)
        with pytest.raises(Unmatched):
            whole(late("inner"), change_nobody)
        put("after", postponed=True)
    assert stored() == ["after", "outer"]


def test_a_whole_transaction_waits_for_a_row_and_says_so_when_it_takes_too_long():
    statements.insert(row := Outbox(producer="a", entry="{}"))
    with seen_by_another() as holder:
        holder.execute("BEGIN")
        holder.execute("UPDATE audit_outbox SET producer = 'held' WHERE producer = 'a'")
        with connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 1")
        change = partial(statements.must_update, Outbox, {"id": row.pk}, {"entry": "[]"})
        with pytest.raises(OperationalError, match="Lock wait timeout"):
            whole(late("b"), change)
        holder.execute("COMMIT")
    connection.close()  # and with it the short time-out
    assert stored() == ["held"]


def test_nobody_sees_a_transaction_before_it_is_committed():
    with transaction.atomic():
        put("a")
        assert count_elsewhere() == 0
    assert count_elsewhere() == 1


def test_an_exception_undoes_what_was_sent_and_what_was_postponed():
    with pytest.raises(ZeroDivisionError):
        fail_after(lambda: put("a"), late("b"))
    put("c")
    assert stored() == ["c"]
    assert count_elsewhere() == 1


def test_an_inner_block_that_fails_takes_its_own_writes_with_it():
    with transaction.atomic():
        put("outer", postponed=True)
        with pytest.raises(ZeroDivisionError):
            fail_after(lambda: put("inner"), late("late"))
        put("after", postponed=True)
    assert stored() == ["after", "outer"]


def test_the_error_of_a_postponed_write_is_raised_by_the_next_statement_and_nothing_is_kept():
    with pytest.raises(IntegrityError):
        put_twice(and_then=lambda: put("b"))
    assert stored() == []


def test_the_error_of_a_postponed_write_is_raised_by_commit_and_nothing_is_kept():
    with pytest.raises(IntegrityError):
        put_twice()
    assert stored() == []
    put("c")
    assert count_elsewhere() == 1


def test_the_row_count_is_that_of_the_statement_and_not_of_what_travelled_with_it():
    with transaction.atomic():
        for name in ("a", "b", "c"):
            put(name, postponed=True)
        assert statements.update(Outbox, {"producer": "nobody"}, {"entry": "[]"}) == 0
        assert statements.update(Outbox, {"producer": "b"}, {"entry": "[]"}) == 1


def test_a_query_reads_its_own_result_when_writes_travel_with_it():
    with transaction.atomic():
        put("a", postponed=True)
        assert stored() == ["a"]


def test_outside_a_transaction_nothing_is_postponed(round_trips):
    put("a", postponed=True)
    assert first_words(round_trips) == [["INSERT"]]
    assert count_elsewhere() == 1


def test_many_rows_at_once_come_after_what_was_postponed():
    with transaction.atomic():
        put("a", postponed=True)
        with connection.cursor() as cursor:
            cursor.executemany("DELETE FROM audit_outbox WHERE producer = %s", [["a"], ["b"]])
    assert stored() == []


def test_transactions_by_hand_begin_anew_after_each_commit():
    transaction.set_autocommit(False)
    try:
        put("a")
        transaction.commit()
        put("b")
        transaction.rollback()
        put("c")
    finally:
        transaction.set_autocommit(True)  # commits, as MariaDB's own does
    assert stored() == ["a", "c"]
    assert count_elsewhere() == 2


def test_a_new_connection_begins_as_one_without_transaction(round_trips):
    with transaction.atomic():
        put("a", postponed=True)
    connection.close()
    put("b")
    assert count_elsewhere() == 2


async def test_all_threads_of_a_pool_wait_for_the_server_at_once(monkeypatch):
    # Nobody has his turn for another reason than that all others wait.
    monkeypatch.setattr("stabilizer.pool.LONG_S", 60)
    pool = Pool(4, on_idle=connections.close_all)
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock'"

    def wait() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK('pool', 10), RELEASE_LOCK('pool')")

    def seen(cursor: Any) -> int:
        cursor.execute(waiting)
        return cursor.fetchone()[0]

    def hold() -> int:
        with seen_by_another() as cursor:
            cursor.execute("SELECT GET_LOCK('pool', 0)")
            held.set()
            deadline = time.monotonic() + 10
            while (count := seen(cursor)) < pool.size and time.monotonic() < deadline:
                time.sleep(0.01)
            return count

    held = threading.Event()
    holder = asyncio.ensure_future(asyncio.to_thread(hold))
    await asyncio.to_thread(held.wait, 10)
    works = [pool.submit(wait) for _ in range(pool.size)]
    assert await holder == pool.size
    await asyncio.gather(*works)
    assert await asyncio.to_thread(pool.close)
