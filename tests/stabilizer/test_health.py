"""The probes answer quickly, whatever has become of what they look at."""

import asyncio
import json
import time

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import connections

from stabilizer import health
from stabilizer.health import Health, Readiness


async def passed_on(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"passed on"})


async def probe(path: str, app: Health) -> tuple[int, bytes]:
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    communicator = ApplicationCommunicator(app, scope)
    await communicator.send_input({"type": "http.request"})
    start = await communicator.receive_output(5)
    body = await communicator.receive_output(5)
    return start["status"], body["body"]


async def fine() -> None:
    pass


async def refused() -> None:
    raise ConnectionRefusedError("user@host:3306 refused")


async def hung() -> None:
    await asyncio.Event().wait()


def app_with(**checks) -> Health:
    return Health(passed_on, Readiness(checks, needed=frozenset({"database"})))


async def test_healthz_depends_on_nothing():
    app = app_with(database=hung, redis=hung)
    assert await probe("/healthz", app) == (200, b'{"status": "ok"}')


async def test_other_paths_are_passed_on():
    assert await probe("/healthz/", app_with()) == (418, b"passed on")


async def test_readyz_names_each_check():
    status, body = await probe("/readyz", app_with(database=fine, redis=fine, broker=fine))
    report = json.loads(body)
    assert (status, report["status"]) == (200, "ready")
    assert [check["ok"] for check in report["checks"].values()] == [True] * 3


async def test_without_the_database_the_service_is_not_ready():
    status, body = await probe("/readyz", app_with(database=refused, redis=fine))
    report = json.loads(body)
    assert (status, report["status"]) == (503, "unready")
    assert report["checks"]["database"]["error"] == "ConnectionRefusedError"
    assert b"user@host" not in body


@pytest.mark.parametrize("away", ["redis", "broker"])
async def test_without_redis_or_broker_the_service_is_degraded_but_serves(away):
    checks = {"database": fine, "redis": fine, "broker": fine, away: refused}
    status, body = await probe("/readyz", app_with(**checks))
    assert (status, json.loads(body)["status"]) == (200, "degraded")


async def test_a_hung_check_is_given_up_after_its_second(monkeypatch):
    monkeypatch.setattr(health, "CHECK_S", 0.05)
    started = time.monotonic()
    status, body = await probe("/readyz", app_with(database=hung, redis=hung))
    assert time.monotonic() - started < 1
    assert status == 503
    assert json.loads(body)["checks"]["redis"]["error"] == "TimeoutError"


async def test_a_flood_of_probes_runs_each_check_once():
    ran = []

    async def counted() -> None:
        ran.append(True)
        await asyncio.sleep(0.01)

    app = app_with(database=counted)
    answers = await asyncio.gather(*(probe("/readyz", app) for _ in range(100)))
    answers.append(await probe("/readyz", app))
    assert [status for status, _ in answers] == [200] * 101
    assert len(ran) == 1


async def test_a_stale_report_is_made_again(monkeypatch):
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    state = [refused, fine]

    async def recovering() -> None:
        await state.pop(0)()

    app = app_with(database=recovering)
    assert [(await probe("/readyz", app))[0] for _ in range(2)] == [503, 200]


async def test_the_real_database_redis_and_broker_are_looked_at(transactional_db):
    status, body = await probe(
        "/readyz", Health(passed_on, Readiness(health.CHECKS, needed=health.NEEDED))
    )
    report = json.loads(body)
    assert (status, report["status"]) == (200, "ready"), report
    assert set(report["checks"]) == {"database", "redis", "broker"}
    await asyncio.get_running_loop().run_in_executor(health._thread, connections.close_all)


async def test_a_redis_that_is_not_there_is_reported(settings):
    settings.REDIS_URL = settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    readiness = Readiness({"redis": health._redis, "broker": health._broker}, frozenset())
    report = await readiness.report()
    assert report["status"] == "degraded"
    assert {check["error"] for check in report["checks"].values()} == {"ConnectionError"}
