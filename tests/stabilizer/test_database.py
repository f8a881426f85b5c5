"""How long MariaDB may let a connection wait."""

import time
from threading import Thread

import pytest
from django.db import OperationalError, connection, connections

from stabilizer import database

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def mariadb() -> None:
    if connection.vendor != "mysql":
        pytest.skip("SQLite is a file, which does not hang.")


def test_a_lock_is_waited_for_two_seconds() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout, @@sql_mode")
        wait_s, mode = cursor.fetchone()
    assert wait_s == 2
    assert "STRICT_TRANS_TABLES" in mode


def test_where_requests_are_served_an_answer_that_does_not_come_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {**connections.settings["default"]["OPTIONS"]}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    monkeypatch.setattr(database, "ANSWER_WAIT_S", 1)
    database.limit_waits()
    errors: list[int] = []

    def ask() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(8)")
        except OperationalError as error:
            errors.append(error.args[0])
        finally:
            connection.close()

    began = time.monotonic()
    thread = Thread(target=ask)
    thread.start()
    thread.join()
    assert errors == [2013]
    assert time.monotonic() - began < 5
