"""Which tasks yield, and for how long they are put back."""

import base64
import json
from datetime import UTC, datetime

import pytest
from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError

from stabilizer import celery
from stabilizer.background import yielding
from stabilizer.background.yielding import Yielding
from stabilizer.celery import app, is_exempt


@pytest.fixture(autouse=True)
def tasks() -> None:
    app.loader.import_default_modules()


def test_every_task_of_ours_is_one_that_yields_but_those_of_the_trail():
    ours = {name: task for name, task in app.tasks.items() if ".tasks." in name}
    assert all(isinstance(task, Yielding) for task in ours.values())
    exempt = {name for name in ours if is_exempt(name)}
    assert {name.split(".")[0] for name in exempt} == {"audit"}
    assert "pairing.tasks.sweep" in set(ours) - exempt


def test_no_task_that_yields_is_acknowledged_before_it_is_put_back():
    yields = [task for name, task in app.tasks.items() if not is_exempt(name)]
    assert all(task.acks_late for task in yields)


def test_a_task_that_is_called_directly_asks_nobody(monkeypatch):
    monkeypatch.setattr(yielding.budget, "shared", None)

    @app.task(name="tests.direct", shared=False)  # type: ignore[untyped-decorator]
    def direct(number: int) -> int:
        return number + 1

    try:
        assert direct(1) == 2
        assert direct.apply([1]).get() == 2
    finally:
        app.tasks.pop("tests.direct")


@pytest.fixture
def running(redis_client):
    """A task as a worker's process runs it: for the second time, with a word of its own."""
    task = app.tasks["audit.tasks.store"]
    task.push_request(
        id="an-id",
        args=[{"spool": "a"}],
        kwargs={},
        expires="2031-01-01T00:00:00+00:00",
        retries=3,
        called_directly=False,
        delivery_info={"exchange": "", "routing_key": "default"},
        yields=1,
    )
    yield task
    task.pop_request()


def test_what_is_put_back_is_the_same_task_for_later(running, redis_client):
    with pytest.raises(Ignore):
        running.put_back()
    message = json.loads(redis_client.lpop("celery:default"))
    headers = message["headers"]
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[{"spool": "a"}], {}]
    assert (headers["task"], headers["id"]) == ("audit.tasks.store", "an-id")
    assert (headers["retries"], headers[celery.YIELDS]) == (3, 2)
    assert headers["expires"] == "2031-01-01T00:00:00+00:00"
    rest = datetime.fromisoformat(headers["eta"]) - datetime.now(UTC)
    assert 0 < rest.total_seconds() <= 2


@pytest.mark.parametrize("error", [OperationalError("away"), celery.QueueFull("default", 1000)])
def test_what_cannot_be_put_back_is_rejected_so_that_it_comes_again(running, monkeypatch, error):
    def refuse(*words, **options):
        raise error

    monkeypatch.setattr(app, "send_task", refuse)
    monkeypatch.setattr(yielding, "PAUSE_S", 0)
    with pytest.raises(Reject) as rejected:
        running.put_back()
    assert rejected.value.requeue
