"""Real web processes that keep rows: a change is seen by all, and a new one begins warm."""

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median
from typing import Any

import pytest
import redis

from accounts import keys, snapshot
from accounts.models import Plan, Scope, Tenant
from dev import ports
from pairing.models import Smartcard, Subscriber
from ratelimit.follower import FRESH_S
from tests.stabilizer import processes

pytestmark = [
    pytest.mark.processes,
    pytest.mark.alone,
    pytest.mark.django_db(transaction=True),
]
PATH = "/api/v1/subscribers/S-1/"
LOOKUPS = re.compile(r'lookups_total\{kind="subscriber",level="process",outcome="(\w+)"\} (\d+)')


@pytest.fixture
def key(redis_client: redis.Redis) -> Iterator[str]:
    snapshot.forget()
    plan = Plan.objects.create(name="operator")
    tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
    subscriber = Subscriber.objects.create(tenant=tenant, code="S-1", name="first")
    Smartcard.objects.create(tenant=tenant, subscriber=subscriber, sn="C-1")
    yield keys.create(tenant, "back office", Scope.values)[1]
    snapshot.forget()


def ask(port: int, key: str, method: str = "GET", body: Any = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, PATH, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, told
        return told


def lookups(port: int) -> dict[str, int]:
    """Of the whole fleet, at the level of the process: hits and misses."""
    text = processes.get(port, "/metrics")[2].decode()
    return {outcome: int(number) for outcome, number in LOOKUPS.findall(text)}


def await_(reached: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_change_is_seen_by_the_other_process_and_a_new_one_begins_with_what_is_used(
    key: str, redis_client: redis.Redis
) -> None:
    here, there, new = (ports.free() for _ in range(3))
    started = [processes.start("--port", str(port)) for port in (here, there)]
    with processes.ended(*started):
        for port in (here, there):
            processes.wait_for_server(port)
            assert ask(port, key)["name"] == "first"
        took_s = []
        for number in range(5):
            assert ask(here, key, "PUT", {"name": f"name {number}"})["name"] == f"name {number}"
            began = time.monotonic()
            assert ask(here, key)["name"] == f"name {number}"
            await_(lambda: ask(there, key)["name"] == f"name {number}")  # noqa: B023
            took_s.append(time.monotonic() - began)
        assert median(took_s) < FRESH_S, took_s

        await_(lambda: redis_client.zcard("rows:{-}:used:subscriber") == 1)
        third = processes.start("--port", str(new))
        with processes.ended(third):
            processes.wait_for_server(new)
            before = settled(here)
            assert ask(new, key)["name"] == "name 4"
            await_(lambda: lookups(here)["hit"] == before["hit"] + 1)
            assert lookups(here)["miss"] == before["miss"]


def settled(port: int) -> dict[str, int]:
    """The counts once every process has told its own, as each does once a second."""
    counts = [lookups(port)]
    await_(lambda: _grown(counts, lookups(port)), 60)
    return counts[-1]


def _grown(counts: list[dict[str, int]], now: dict[str, int]) -> bool:
    """Whether nothing was added in 150 looks."""
    counts.append(now)
    return len(counts) > 150 and counts[-150] == now
