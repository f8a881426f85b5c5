"""Real workers on a real broker: they yield, catch up, and lose nothing, whatever dies."""

import signal
from pathlib import Path

import pytest

import audit
from audit import spool, tasks
from audit.models import Event
from audit.shipper import Shipper
from stabilizer.celery import app
from stabilizer.ops import totals
from tests.stabilizer.background.conftest import eventually

pytestmark = pytest.mark.processes
#: After so long an unacknowledged message is anybody's.
VISIBILITY_S = "3"


@pytest.fixture(autouse=True)
def application() -> None:
    app.set_current()
    app.loader.import_default_modules()


def mark(*numbers: int) -> None:
    for number in numbers:
        app.send_task("tests.mark", [number])


@pytest.fixture
def ran(redis_client):
    """The numbers of the marks, in the order in which their tasks ran."""
    return lambda: [int(number) for number in redis_client.lrange("test:ran", 0, -1)]


@pytest.fixture
def yields(redis_client):
    """How often tasks were put back because of pressure."""
    field = "background_yields|tests.mark|pressure"
    return lambda: int(redis_client.hget(totals.TOTALS, field) or 0)


@pytest.fixture
def waiting(redis_client):
    """Messages in the queue, and held by workers."""
    return lambda: (redis_client.llen("celery:default"), redis_client.hlen("celery:unacked"))


def test_work_yields_while_requests_want_all_slots_and_catches_up_afterwards(
    start_worker, requests_of_the_fleet, redis_client, ran, yields, waiting
):
    requests_of_the_fleet.press()
    start_worker()
    mark(*range(40))
    eventually(lambda: yields() >= 80)  # each of them twice, or more
    assert ran() == []
    eventually(lambda: sum(waiting()) == 40)  # but for those on their way
    requests_of_the_fleet.calm_down()
    eventually(lambda: len(ran()) >= 40)
    assert sorted(ran()) == list(range(40))
    eventually(lambda: waiting() == (0, 0))
    counted = redis_client.hget(totals.TOTALS, "background_runs|tests.mark")
    assert int(counted) == 40


@pytest.mark.django_db(transaction=True)
def test_the_trail_goes_on_while_other_work_yields(
    start_worker, requests_of_the_fleet, tmp_path: Path, settings, ran, yields
):
    settings.AUDIT_SPOOL_DIR = tmp_path / "spool"
    spool.forget()
    requests_of_the_fleet.press()
    start_worker(RUN_DIR=str(tmp_path))
    mark(1)
    eventually(yields)
    for number in range(700):
        audit.record("gate.refused", subject=str(number))
    shipper = Shipper(settings.AUDIT_SPOOL_DIR, tasks.hand_over)

    def stored() -> bool:
        shipper.round()
        return Event.objects.count() == 700

    eventually(stored)
    spool.forget()
    assert ran() == []
    requests_of_the_fleet.calm_down()
    eventually(lambda: ran() == [1])


def test_a_worker_that_is_killed_before_it_has_put_a_task_back_loses_nothing(
    start_worker, requests_of_the_fleet, redis_client, ran
):
    requests_of_the_fleet.press()
    worker = start_worker(TEST_VISIBILITY_S=VISIBILITY_S)
    redis_client.set("test:die-before", 1)
    mark(7)
    assert worker.wait(30) == -signal.SIGKILL
    assert redis_client.hlen("celery:unacked") == 1
    requests_of_the_fleet.calm_down()
    start_worker(TEST_VISIBILITY_S=VISIBILITY_S)
    eventually(lambda: ran() == [7])


def test_a_worker_that_is_killed_between_putting_back_and_acknowledging_loses_nothing(
    start_worker, requests_of_the_fleet, redis_client, ran, waiting
):
    requests_of_the_fleet.press()
    worker = start_worker(TEST_VISIBILITY_S=VISIBILITY_S)
    redis_client.set("test:die-after", 1)
    mark(7)
    assert worker.wait(30) == -signal.SIGKILL
    assert sum(waiting()) == 2
    requests_of_the_fleet.calm_down()
    start_worker(TEST_VISIBILITY_S=VISIBILITY_S)
    # Once by the message that was put back, once by the one that was never acknowledged.
    eventually(lambda: ran() == [7, 7])
    eventually(lambda: waiting() == (0, 0))


def test_a_broker_that_is_away_while_a_task_is_put_back_has_it_when_it_is_there_again(
    start_worker, requests_of_the_fleet, redis_client, proxy, far_broker, ran, waiting
):
    requests_of_the_fleet.press()
    start_worker(BROKER_URL=far_broker, TEST_VISIBILITY_S=VISIBILITY_S)
    redis_client.set("test:stop-before", 1)
    mark(7)
    assert redis_client.blpop(["test:stopped"], 20)
    proxy.refuse()
    redis_client.rpush("test:go", 1)
    requests_of_the_fleet.calm_down()
    # Nothing went out: the one message is still the unacknowledged one.
    assert waiting() == (0, 1)
    proxy.heal()
    eventually(lambda: ran() == [7])
    eventually(lambda: waiting() == (0, 0))
    assert ran() == [7]


def test_a_broker_that_hangs_while_a_task_is_put_back_has_it_once_at_least(
    start_worker, requests_of_the_fleet, redis_client, proxy, far_broker, log, ran, waiting
):
    requests_of_the_fleet.press()
    start_worker(BROKER_URL=far_broker, TEST_VISIBILITY_S=VISIBILITY_S)
    redis_client.set("test:stop-before", 1)
    mark(7)
    assert redis_client.blpop(["test:stopped"], 20)
    proxy.hang()
    redis_client.rpush("test:go", 1)
    eventually(lambda: "tests.mark could not be put back" in log.read_text())
    requests_of_the_fleet.calm_down()
    proxy.heal()
    # What was held up arrives as well: nobody could know, so that it may run twice.
    eventually(lambda: ran() and waiting() == (0, 0))
    assert ran() in ([7], [7, 7])


def test_a_worker_that_is_stopped_leaves_what_it_had_put_back_in_the_queue(
    start_worker, requests_of_the_fleet, ran, yields, waiting
):
    requests_of_the_fleet.press()
    worker = start_worker()
    mark(*range(5))
    eventually(lambda: yields() >= 5)
    worker.terminate()
    assert worker.wait(30) == 0
    assert waiting() == (5, 0)
    requests_of_the_fleet.calm_down()
    start_worker()
    eventually(lambda: len(ran()) == 5)
    assert sorted(ran()) == list(range(5))
