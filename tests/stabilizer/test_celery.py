"""Background work: bounded queues, JSON, and schedules that do not pile up."""

import json

import pytest
from celery.signals import worker_init
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from stabilizer import celery
from stabilizer.celery import QueueFull, app


@pytest.fixture
def broker(redis_client):
    """The broker's queues are on the tests' Redis, which is emptied before."""
    return redis_client


def test_a_task_is_published_as_json_to_its_queue(broker):
    app.send_task("audit.tasks.store", queue="audit")
    message = json.loads(broker.lindex("celery:audit", 0))
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "audit.tasks.store"


def test_a_full_queue_takes_nothing_more_and_the_others_do(broker, monkeypatch):
    monkeypatch.setattr(celery, "MOST_WAITING", 3)
    for _ in range(3):
        app.send_task("audit.tasks.store", queue="audit")
    with pytest.raises(QueueFull, match="3 messages wait in the queue 'audit'"):
        app.send_task("audit.tasks.store", queue="audit")
    app.send_task("anything")
    assert (broker.llen("celery:audit"), broker.llen("celery:default")) == (3, 1)


def test_what_workers_hold_waits_as_well_but_stands_in_no_exempt_tasks_way(broker, monkeypatch):
    monkeypatch.setattr(celery, "MOST_WAITING", 3)
    app.send_task("anything")
    broker.hset("celery:unacked", mapping={"put back": "1", "running": "2"})
    with pytest.raises(QueueFull, match="3 messages wait in the queue 'default'"):
        app.send_task("anything")
    app.send_task("audit.tasks.move_outbox")
    app.send_task("audit.tasks.store", queue="audit")
    assert (broker.llen("celery:audit"), broker.llen("celery:default")) == (1, 2)


def test_what_is_put_back_is_not_refused(broker, monkeypatch):
    monkeypatch.setattr(celery, "MOST_WAITING", 1)
    app.send_task("anything")
    app.send_task("anything", headers={celery.YIELDS: 1})
    assert broker.llen("celery:default") == 2


def test_what_is_scheduled_exists_and_is_dropped_when_its_second_has_passed():
    app.loader.import_default_modules()
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks
        assert entry["options"]["expires"] <= entry["schedule"]


def test_nothing_but_json_is_accepted():
    assert app.conf.accept_content == ["json"]
    with pytest.raises(ContentDisallowed):
        loads(b"", "application/x-python-serialize", "binary", accept=app.conf.accept_content)


def test_a_task_may_not_run_longer_than_it_stays_invisible():
    assert app.conf.task_time_limit < app.conf.broker_transport_options["visibility_timeout"]


def test_a_worker_lets_requests_go_first_where_they_share_a_host(monkeypatch):
    given: list[int] = []
    monkeypatch.setattr(celery.os, "nice", given.append)
    worker_init.send(sender="a worker")
    assert given == [celery.NICENESS]
