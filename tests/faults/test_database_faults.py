"""A database that hangs, restarts or locks: what callers hear meanwhile, and what is left of it."""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest

from dev.chaos.__main__ import examine
from dev.chaos.stack import WEB, connect
from stabilizer.database import ANSWER_WAIT_S, CONNECT_WAIT_S, LOCK_WAIT_S
from tests.faults.conftest import LONG, Reply, Service
from tests.faults.crowd import target
from tests.faults.returning import Record, pair_all

pytestmark = [pytest.mark.processes, pytest.mark.alone]

FROZEN_S = 20.0 if LONG else 8.0
#: Callers that read now and then: more than there are slots, so that somebody always comes anew.
CALLERS, PAUSE_S = 60, 0.5


class Answer(NamedTuple):
    asked: float
    at: float
    status: int
    code: str


@contextmanager
def asking(service: Service) -> Iterator[list[Answer]]:
    """`CALLERS` threads that read from the database as long as the block lasts."""
    answers: list[Answer] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.wait(random.uniform(0, 2 * PAUSE_S)):
            asked = time.monotonic()
            reply = service.get("/api/v1/devices/", bearer=service.stack.api_key)
            code = reply.document.get("code", "")
            answers.append(Answer(asked, time.monotonic(), reply.status, code))

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def test_a_frozen_database_costs_nobody_a_thread_and_is_missed_for_seconds_only(
    service: Service,
) -> None:
    pid = service.stack.mariadb_pid
    with asking(service) as answers:
        time.sleep(1)
        frozen = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_S)
        finally:
            back = time.monotonic()
            os.kill(pid, signal.SIGCONT)
        time.sleep(7)
    before = [each for each in answers if each.at < frozen]
    assert {each.status for each in before} == {200}
    refused = [each for each in answers if each.status == 503]
    assert {each.code for each in refused} <= {"database_unavailable", "overloaded"}
    assert {each.status for each in answers} == {200, 503}
    # The first 503 within a second; nobody waits longer than for the driver to give up, and to find
    # no new connection in the place of that one.
    assert min(each.at for each in refused) - frozen < 1
    longest_s = ANSWER_WAIT_S + CONNECT_WAIT_S
    assert max(each.at - each.asked for each in answers) < longest_s + 1
    # While it is frozen most are refused at once: the breaker is open, and costs no thread.
    during = [each for each in refused if frozen + 1 < each.asked < back]
    quick = [each for each in during if each.at - each.asked < 0.1]
    assert len(quick) > 0.9 * len(during)
    # Full service within 5 s of its return.
    assert max(each.at for each in refused) - back < 5
    after = [each for each in answers if each.asked > back + 5]
    assert {each.status for each in after} == {200}
    for name in WEB:
        assert "breaker database:read: closed > open" in service.logs(name)
        assert "breaker database:read: half-open > closed" in service.logs(name) or (
            "breaker database:read: open > closed" in service.logs(name)
        )


PAIRINGS, AT_ONCE = 1_000, 50
#: MariaDB is killed when so many have been completed.
KILLED_AFTER = 300
#: A segment that was on its way may have to be sent again, after a minute.
DRAINED_S = 90.0

OURS = "returning-device-%"
#: What there must be none of, once every device of `OURS` has its credentials.
HALVES = {
    "neither acknowledged nor, of a create whose answer was lost, pending": (
        "SELECT COUNT(*) FROM pairing_pairing WHERE udid LIKE %s"
        " AND state NOT IN ('acknowledged', 'pending')"
    ),
    "acknowledged, with something missing or left over": (
        "SELECT COUNT(*) FROM pairing_pairing WHERE udid LIKE %s AND state = 'acknowledged' AND ("
        "approved_at IS NULL OR delivered_at IS NULL OR acknowledged_at IS NULL"
        " OR subscriber_id IS NULL OR active_smartcard_id IS NULL OR active_udid IS NULL"
        " OR smartcard_id <> active_smartcard_id OR active_udid <> udid OR token_family IS NULL"
        " OR sealed_answer <> '' OR version <> 4)"
    ),
    "pending, with something of an approval": (
        "SELECT COUNT(*) FROM pairing_pairing WHERE udid LIKE %s AND state = 'pending' AND ("
        "approved_at IS NOT NULL OR active_smartcard_id IS NOT NULL OR active_udid IS NOT NULL"
        " OR token_family IS NOT NULL OR version <> 1)"
    ),
    "cards in two devices": (
        "SELECT COUNT(*) - COUNT(DISTINCT smartcard_id) FROM pairing_pairing"
        " WHERE udid LIKE %s AND state = 'acknowledged'"
    ),
    "devices signed in twice": (
        "SELECT COUNT(*) - COUNT(DISTINCT udid) FROM pairing_pairing"
        " WHERE udid LIKE %s AND state = 'acknowledged'"
    ),
    "tokens of a delivery that was not made": (
        "SELECT COUNT(*) FROM accounts_tokenfamily WHERE device LIKE %s"
        " AND id NOT IN (SELECT token_family FROM pairing_pairing WHERE token_family IS NOT NULL)"
    ),
}
TOLD = (
    "SELECT action, told, COUNT(*) FROM ("
    "SELECT action, subject, COUNT(*) AS told FROM audit_event WHERE subject IN ("
    "SELECT CONCAT('pairing:', id) FROM pairing_pairing WHERE udid LIKE %s)"
    " AND action <> 'pairing.created' GROUP BY action, subject) AS each_change"
    " GROUP BY action, told"
)


def halves(service: Service) -> dict[str, int]:
    """What is half done, and how often."""
    counted = {what: service.sql(statement, OURS)[0][0] for what, statement in HALVES.items()}
    return {what: count for what, count in counted.items() if count}


def changes_told(service: Service) -> dict[tuple[str, int], int]:
    """Of each change of a pairing how often the trail has it, and of how many pairings."""
    return {(action, told): count for action, told, count in service.sql(TOLD, OURS)}


def test_a_database_that_restarts_in_the_middle_of_a_thousand_pairings_halves_none(
    service: Service,
) -> None:
    record = Record()
    # Whoever starts a server must outlive it, so it is the devices that run in another thread.
    with ThreadPoolExecutor(1) as pool:
        pairing = pool.submit(
            asyncio.run, pair_all(target(service.stack), PAIRINGS, AT_ONCE, record)
        )
        service.await_(lambda: record.paired >= KILLED_AFTER or pairing.done(), "pairings")
        killed = time.monotonic()
        service.stack.restart_mariadb()
        pairing.result()
    assert record.paired == PAIRINGS
    # Devices see to it that nothing else than success, `already_approved` and 503 is said.
    refused = [each for each in record.told if each.status == 503]
    assert {each.code for each in refused} <= {"database_unavailable", "overloaded"}
    assert all(each.retry_after_s for each in refused)
    # Serving again in 10 s, the restart included.
    away = [each for each in refused if each.code == "database_unavailable"]
    served = [each for each in record.told if each.status < 300 and each.asked > killed]
    assert len(away) >= 1
    assert max(each.at for each in away) - killed < 10
    assert min(each.at for each in served) - killed < 10
    assert halves(service) == {}
    found = examine(service.stack, record.done, DRAINED_S)
    assert (found["answered"], found["lost"], found["doubled"]) == (len(record.done), 0, 0)
    assert found["gaps"] == found["dead_letters"] == 0
    assert found["faults"] == []
    assert changes_told(service) == {
        (action, 1): PAIRINGS
        for action in ("pairing.approved", "pairing.delivered", "pairing.acknowledged")
    }


@contextmanager
def session(service: Service) -> Iterator[Any]:
    """A cursor of somebody else's connection, in a transaction that is rolled back at the end."""
    with closing(connect(service.stack.root_url)) as connection:
        connection.autocommit(False)
        with connection.cursor() as cursor:
            yield cursor
        connection.rollback()


def status_of(service: Service, name: str) -> int:
    return int(service.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])


@contextmanager
def approving(service: Service, number: int, created: Reply) -> Iterator[list[tuple[Reply, float]]]:
    """Approves in a thread; the reply, and the seconds it took, are there after the block."""
    answered: list[tuple[Reply, float]] = []

    def approve() -> None:
        began = time.monotonic()
        answered.append((service.approve(number, created), time.monotonic() - began))

    thread = threading.Thread(target=approve)
    thread.start()
    try:
        yield answered
    finally:
        thread.join()


def lock(service: Service, cursor: Any, udid: str, state: str) -> None:
    """Lock the row of a pairing, and no other row on the way to it."""
    found = "SELECT id FROM pairing_pairing WHERE udid = %s AND state = %s"
    ((pk,),) = service.sql(found, udid, state)
    cursor.execute("SELECT 1 FROM pairing_pairing WHERE id = %s FOR UPDATE", [pk])


def test_a_row_that_stays_locked_is_tried_twice_and_then_refused(service: Service) -> None:
    created = service.create(300)
    waits = status_of(service, "Innodb_row_lock_waits")
    with session(service) as other:
        lock(service, other, "fault-device-000300", "pending")
        with approving(service, 300, created) as answered:
            pass
        ((refused, took_s),) = answered
    assert (refused.status, refused.document["code"]) == (503, "database_unavailable")
    assert refused.retry_after_s >= 1
    assert status_of(service, "Innodb_row_lock_waits") - waits == 2
    assert 2 * LOCK_WAIT_S - 0.5 < took_s < 2 * LOCK_WAIT_S + 3
    assert service.approve(300, created).status == 200


def test_a_lock_that_goes_away_in_time_is_only_waited_for(service: Service) -> None:
    created = service.create(301)
    waits = status_of(service, "Innodb_row_lock_waits")
    with session(service) as other:
        lock(service, other, "fault-device-000301", "pending")
        with approving(service, 301, created) as answered:
            # The first try has given up; the second one waits.
            service.await_(
                lambda: status_of(service, "Innodb_row_lock_waits") - waits == 2, "two tries", 8
            )
            other.connection.rollback()
    assert answered[0][0].status == 200


class Opponents:
    """Two sessions that bring about one deadlock after the other, all of which an approval loses.

    It ends the device's older pairing, then it takes the new one. The first opponent has the new
    one for good, and waits for a row of the second, who asks for the older one: a circle of three.
    Both have changed so many rows that MariaDB rolls the approval back.
    """

    #: That one of them changes in a transaction, of a thousand.
    ROWS = 200

    def __init__(self, service: Service, first: Any, second: Any, udid: str) -> None:
        self._service = service
        self._first = first
        self._second = second
        self._udid = udid
        self._rounds = 0
        service.sql("CREATE DATABASE IF NOT EXISTS opponents", root=True)
        table = "opponents.ballast (id INT PRIMARY KEY, number INT NOT NULL)"
        service.sql(f"CREATE OR REPLACE TABLE {table}", root=True)
        service.sql("INSERT INTO opponents.ballast SELECT seq, 0 FROM seq_1_to_1000", root=True)
        self._weigh(first, 0)
        lock(service, first, udid, "pending")

    def win(self) -> None:
        """One deadlock, once the approval waits for the first opponent."""
        self._rounds += 1
        self._weigh(self._second, self._rounds)
        waiting = threading.Thread(target=self._want, args=[self._rounds * self.ROWS + 1])
        waiting.start()
        waits = "Innodb_row_lock_current_waits"
        self._service.await_(lambda: status_of(self._service, waits) == 2, "two who wait", 5)
        lock(self._service, self._second, self._udid, "approved")
        self._second.connection.rollback()
        waiting.join()

    def _weigh(self, cursor: Any, number: int) -> None:
        change = "UPDATE opponents.ballast SET number = number + 1 WHERE id BETWEEN %s AND %s"
        cursor.execute(change, [number * self.ROWS + 1, (number + 1) * self.ROWS])

    def _want(self, row: int) -> None:
        self._first.execute("SELECT number FROM opponents.ballast WHERE id = %s FOR UPDATE", [row])


@pytest.mark.parametrize(("deadlocks", "status"), [(3, 200), (4, 503)])
def test_a_transaction_that_loses_a_deadlock_is_tried_four_times_and_then_refused(
    service: Service, deadlocks: int, status: int
) -> None:
    number = 310 + deadlocks
    assert service.approve(number, service.create(number)).status == 200
    created = service.create(number)
    assert created.status == 201, created
    before = status_of(service, "Innodb_deadlocks")
    with session(service) as first, session(service) as second:
        opponents = Opponents(service, first, second, f"fault-device-{number:06d}")
        with approving(service, number, created) as answered:
            for _ in range(deadlocks):
                opponents.win()
            if status == 200:
                first.connection.rollback()
            lost = time.monotonic()
        # One more try would wait for the first opponent.
        assert time.monotonic() - lost < LOCK_WAIT_S
    ((reply, _),) = answered
    assert reply.status == status
    assert status_of(service, "Innodb_deadlocks") - before == deadlocks
    if status == 503:
        assert reply.document["code"] == "database_unavailable"
        assert reply.retry_after_s >= 1
        assert service.approve(number, created).status == 200
