"""What a key was let in for: counted per key and ten seconds, whichever door it came through."""

import asyncio
from typing import Any, NamedTuple

import pytest
from django.http import HttpResponse

from accounts import keys
from accounts.models import Tenant
from audit import context, recording
from audit.floods import Floods
from stabilizer.gate.control import Control
from stabilizer.gate.wsgi import GateMiddleware
from tests.stabilizer.gate.door import Door
from tests.stabilizer.gate.policies import limited


class Use(NamedTuple):
    """A record of `key.used`."""

    actor: str
    tenant: str
    policy: str
    times: int
    decision_id: str


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> list[Use]:
    written = []

    def record(
        action: str, outcome: str, *, actor: str, tenant: str, detail: Any, **_: str
    ) -> None:
        if action == "key.used":
            now = context.current()
            assert (outcome, now.request_id) == ("ok", now.decision_id)
            written.append(Use(actor, tenant, detail["policy"], detail["count"], now.decision_id))

    monkeypatch.setattr(recording, "record", record)
    return written


@pytest.fixture
async def counted(gates, app, hand, known) -> Door:
    return Door(await gates(app, trail=Floods(hand)))


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def name_of(key: str) -> str:
    return "key:" + key.removeprefix(keys.SCHEME).partition("_")[0]


async def test_the_first_use_is_a_record_and_the_others_of_ten_seconds_are_a_count(
    counted, hand, key, uses
):
    first = await counted.knock(path="/api/v1/me/", headers=bearer(key))
    for _ in range(7):
        await counted.knock(path="/api/v1/devices/", headers=bearer(key))
    opening = Use(name_of(key), "acme", "me", 1, first["x-request-id"])
    assert uses == [opening]
    hand.now += 10
    second = await counted.knock(path="/api/v1/devices/", headers=bearer(key))
    again = Use(name_of(key), "acme", "devices.list", 1, second["x-request-id"])
    assert uses == [opening, opening._replace(times=7), again]
    await counted.app.stop()
    assert len(uses) == 3


@pytest.fixture
def two_keys(tenant: Tenant, key: str) -> list[str]:
    return [key, keys.create(tenant, "another", [])[1]]


async def test_each_key_is_counted_by_itself_and_no_use_is_missing(two_keys, counted, uses):
    calls = [counted.knock(path="/api/v1/me/", headers=bearer(key)) for key in two_keys * 50]
    replies = await asyncio.gather(*calls)
    assert {reply.status for reply in replies} == {200}
    await counted.app.stop()
    counts = [(use.actor, use.times) for use in uses]
    assert sorted(counts) == sorted((name_of(key), count) for key in two_keys for count in (1, 49))


async def test_who_was_refused_used_nothing(counted, key, uses, policies_in_force):
    policies_in_force.swap(limited(("few", 3, 60)))
    replies = [await counted.knock(headers=bearer(key)) for _ in range(8)]
    assert [reply.status for reply in replies] == [200] * 3 + [429] * 5
    await counted.app.stop()
    assert [use.times for use in uses] == [1, 2]


async def test_only_keys_are_counted(counted, token, uses):
    for headers in (bearer(token), bearer("stb_unknown_key"), {}):
        assert (await counted.knock(path="/api/v1/me/", headers=headers)).status == 200
    await counted.app.stop()
    assert uses == []


def test_behind_wsgi_a_key_is_counted_the_same(limiter, hand, known, key, uses, rf):
    control = Control(limiter, threads=16, configure=lambda: None, trail=Floods(hand))
    gate = GateMiddleware(lambda request: HttpResponse(), control)
    answers = [
        gate(rf.get("/api/v1/me/", headers={"Authorization": f"Bearer {key}"})) for _ in range(5)
    ]
    control.stop_now()
    opening = Use(name_of(key), "acme", "me", 1, answers[0]["X-Request-ID"])
    assert uses == [opening, opening._replace(times=4)]
