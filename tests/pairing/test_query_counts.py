"""What the four calls of a device's way cost, and what refusals do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.pairing.conftest import Device, Operator

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def statements(*expected: str) -> Iterator[None]:
    """Exactly these statements are sent, told by their first words; transactions aside."""
    with CaptureQueriesContext(connection) as queries:
        yield
    sent = [query["sql"] for query in queries.captured_queries]
    said = [sql for sql in sent if sql.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    assert [sql.split()[0] for sql in said] == list(expected), said


@pytest.fixture
def device(operator: Operator) -> Device:
    # The first call of a process makes its first key and reads the snapshot.
    other = Device.create()
    operator.approve(other)
    other.collect()
    return Device.create()


def test_creating_is_one_insert(device: Device):
    with statements("INSERT"):
        Device.create(udid="a-television-of-mine", model="OLED55")


def test_creating_with_an_idempotency_key_is_one_insert(operator: Operator, device: Device):
    def create() -> Any:
        key = {"Idempotency-Key": "a-key-of-22-characters"}
        return operator.post("/api/v1/pairings/", {"app_type": "x"}, **key)

    with statements("INSERT"):
        first = create()
    with statements():
        again = create()
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()


def test_associating_reads_the_pairing_and_a_card_and_writes_once_with_its_record(
    operator: Operator, device: Device
):
    with statements("SELECT", "SELECT", "UPDATE", "INSERT"):
        assert operator.approve(device).status_code == 200


def test_a_poll_is_one_read(device: Device):
    with statements("SELECT"):
        assert device.status().status_code == 200


def test_collecting_reads_once_and_writes_tokens_state_and_record(
    operator: Operator, device: Device
):
    operator.approve(device)
    with statements("SELECT", "INSERT", "INSERT", "UPDATE", "INSERT"):
        assert device.collect().status_code == 200
    with statements("SELECT"):
        assert device.collect().status_code == 200


def test_acknowledging_reads_once_and_writes_once_with_its_record(
    operator: Operator, device: Device
):
    operator.approve(device)
    device.collect()
    with statements("SELECT", "UPDATE", "INSERT"):
        assert device.acknowledge().status_code == 204


def test_a_code_that_was_approved_is_refused_after_one_read(operator: Operator, device: Device):
    operator.approve(device)
    with statements("SELECT"):
        assert operator.approve(device).status_code == 409
