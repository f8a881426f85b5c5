"""A database that hangs: found out at once, left alone, and found back as soon as it is."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from dev.chaos.stack import WEB
from stabilizer.database import ANSWER_WAIT_S
from tests.faults.conftest import Service

pytestmark = pytest.mark.processes

FROZEN_S = 8.0
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
    # The first 503 within a second; nobody waits longer than for the driver to give up.
    assert min(each.at for each in refused) - frozen < 1
    assert max(each.at - each.asked for each in answers) < ANSWER_WAIT_S + 2
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
