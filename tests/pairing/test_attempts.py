"""What is repeated, how often, and how long a lock may hold its caller."""

import time
from collections.abc import Callable, Iterator
from threading import Event, Thread

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from pairing.attempts import Outrun, attempt
from pairing.models import Pairing, State
from pairing.refusal import Refusal
from tests.pairing.conftest import Device, Operator


def failing(error: Exception, times: int) -> tuple[Callable[[], str], list[int]]:
    """An act that fails `times` times before it succeeds, and its calls."""
    calls: list[int] = []

    def act() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return act, calls


@pytest.mark.parametrize(("number", "retries"), [(1213, 3), (1205, 1), (2013, 0), (1045, 0)])
def test_a_transaction_that_was_rolled_back_is_repeated_a_few_times(number: int, retries: int):
    """Fault 8. A lock wait time-out has held the thread for two seconds each time."""
    act, _ = failing(OperationalError(number, "rolled back"), retries)
    assert attempt(act) == "done"
    act, calls = failing(OperationalError(number, "rolled back"), 99)
    with pytest.raises(OperationalError):
        attempt(act)
    assert len(calls) == 1 + retries


@pytest.mark.parametrize("error", [Outrun(), IntegrityError(1062, "duplicate")])
def test_who_is_outrun_looks_again_and_gives_up_in_the_end(error: Exception):
    act, calls = failing(error, 4)
    assert attempt(act) == "done"
    act, calls = failing(error, 99)
    assert attempt(act) == Refusal("contended", retry_after_s=1)
    assert len(calls) == 5


@pytest.fixture
def locked(transactional_db: None) -> Iterator[Callable[[Pairing], None]]:
    """Holds the lock of a row, from another connection, until the test is over."""
    held, over = Event(), Event()
    threads: list[Thread] = []

    def hold(pairing: Pairing) -> None:
        try:
            with transaction.atomic():
                Pairing.objects.select_for_update().get(pk=pairing.pk)
                held.set()
                over.wait(30)
        finally:
            connection.close()

    def lock(pairing: Pairing) -> None:
        threads.append(Thread(target=hold, args=(pairing,)))
        threads[0].start()
        assert held.wait(5)

    yield lock
    over.set()
    for thread in threads:
        thread.join()


def test_a_row_that_stays_locked_is_503_before_the_client_gives_up(
    locked: Callable[[Pairing], None], operator: Operator
):
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no locks of rows.")
    device = Device.create()
    locked(device.row)
    began = time.monotonic()
    refused = operator.deny(device.user_code)
    took_s = time.monotonic() - began
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert int(refused["Retry-After"]) >= 1
    # Two waits of two seconds: the first, and its one retry.
    assert 3.5 < took_s < 6
    assert device.row.state == State.PENDING
