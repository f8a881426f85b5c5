"""Clocks that jump (fault 22): time is the product's own, and order is the version's."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import transaction

from audit import clock
from pairing.models import Pairing, State
from pairing.tasks import sweep
from tests.pairing.conftest import Device, Operator


@pytest.mark.parametrize("hours", [-1, 1])
def test_nothing_expires_because_the_hosts_clock_jumped(operator: Operator, hours: int):
    waiting, approved, delivered = Device.create(), Device.create(), Device.create()
    operator.approve(approved)
    operator.approve(delivered)
    answer = delivered.collect()
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)):
        assert sweep() == 0
        assert waiting.status().json()["expires_in"] > 590
        assert approved.collect().status_code == 200
        assert delivered.collect().content == answer.content
        assert delivered.acknowledge().status_code == 204
        assert operator.deny(waiting.user_code).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_changes_are_ordered_by_version_and_not_by_time(operator: Operator, monkeypatch):
    told: list[tuple[object, int]] = []

    def hear(sender: type, id: object, version: int, **_: object) -> None:
        told.append((id, version))

    from pairing import signals

    signals.changed.connect(hear)
    try:
        device = Device.create()
        operator.approve(device)
        monkeypatch.setattr(clock, "now", lambda before=clock.now: before() - timedelta(seconds=2))
        device.collect()
        device.acknowledge()
        operator.revoke(device.udid)
    finally:
        signals.changed.disconnect(hear)
    assert told == [(device.row.pk, version) for version in (2, 3, 4, 5)]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_told_to_nobody(operator: Operator):
    told: list[int] = []
    from pairing import signals

    device = Device.create()
    row = Pairing.objects.get()
    receiver = lambda sender, version, **_: told.append(version)  # noqa: E731
    signals.changed.connect(receiver)
    try:
        with transaction.atomic():
            assert row.end(State.DENIED, actor="test")
            transaction.set_rollback(True)
    finally:
        signals.changed.disconnect(receiver)
    assert told == []
    assert device.row.state == State.PENDING
