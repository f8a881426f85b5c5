import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction

import audit
from audit import shipping, spool, tasks
from audit.models import Event, Outbox, Segment
from audit.shipper import Shipper
from stabilizer.celery import app
from tests.stabilizer.processes import TRACE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


def test_segments_travel_in_a_queue_of_their_own(redis_client, spool_dir):
    audit.record("gate.refused")
    Shipper(spool_dir, tasks.hand_over).round()
    assert redis_client.llen("celery:audit") == 1


def test_what_beat_schedules_exists():
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    names = ("move_outbox", "checkpoint", "make_partitions", "retain")
    assert {f"audit.tasks.{name}" for name in names} <= scheduled & set(app.tasks)


def test_a_segment_is_acknowledged_when_it_is_stored_and_not_before():
    assert tasks.store.acks_late


@pytest.fixture(autouse=True)
def application(redis_client) -> None:
    app.set_current()
    app.loader.import_default_modules()


@pytest.fixture
def start_worker(spool_dir, redis_client):
    """Starts real Celery workers on the test's database, broker and spool."""
    server = os.environ["DATABASE_URL"].rpartition("/")[0]
    name = connection.settings_dict["NAME"]
    database = f"sqlite:///{name}" if connection.vendor == "sqlite" else f"{server}/{name}"
    workers = []

    def start() -> subprocess.Popen:
        command = [
            "celery",
            "-A",
            "stabilizer",
            "worker",
            "-P",
            "solo",
            "-Q",
            "audit,default",
            "-l",
            "error",
        ]
        env = os.environ | {"DATABASE_URL": database, "RUN_DIR": str(spool_dir.parent), TRACE: ""}
        workers.append(subprocess.Popen([sys.executable, "-m", *command], env=env))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def wait_until(reached: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, "not reached in a minute"
        meanwhile()
        time.sleep(0.1)


def test_reports_and_changes_travel_through_the_broker_into_the_trail(start_worker, spool_dir):
    for number in range(1500):
        audit.record("gate.refused", subject=str(number))
    with transaction.atomic():
        audit.record_with_change("key.created", subject="key-1")
    start_worker()

    shipper = Shipper(spool_dir, tasks.hand_over)

    def meanwhile() -> None:
        shipper.round()
        tasks.move_outbox.apply_async(expires=1)

    wait_until(lambda: Event.objects.count() == 1501, meanwhile)
    assert not Outbox.objects.exists()
    assert Segment.objects.count() == 3


def test_a_killed_worker_and_an_emptied_broker_lose_and_double_nothing(
    start_worker, redis_client, spool_dir, clock
):
    for number in range(3000):
        audit.record("gate.refused", subject=str(number))
    spool.forget()
    shipper = Shipper(spool_dir, tasks.hand_over)
    shipper.round()
    worker = start_worker()
    wait_until(Event.objects.exists, worker.poll)
    worker.kill()
    worker.wait()
    redis_client.flushdb()
    clock.advance(shipping.RESEND_S + 1)
    start_worker()
    wait_until(lambda: not list(spool_dir.glob("*.spool")), shipper.round)
    subjects = list(Event.objects.values_list("subject", flat=True))
    assert sorted(subjects, key=int) == [str(number) for number in range(3000)]


def test_a_backlog_drains_completely_and_in_order_per_subject(start_worker, spool_dir, clock):
    """An hour without worker and broker, in which three processes recorded."""
    for number in range(6_000):
        if number % 2_000 == 0:
            spool.forget()
            clock.advance(1_200)
        audit.record("gate.refused", subject=f"tv-{number % 60}", subject_version=number)
    spool.forget()
    shipper = Shipper(spool_dir, tasks.hand_over)
    start_worker()
    wait_until(lambda: not list(spool_dir.glob("*.spool")), shipper.round)
    versions: dict[str, list[int]] = {}
    for event in Event.objects.order_by("pk"):
        versions.setdefault(event.subject, []).append(event.subject_version)
    assert sum(map(len, versions.values())) == 6_000
    assert all(each == sorted(each) for each in versions.values())
