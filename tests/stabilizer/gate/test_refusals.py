"""Whomever the gate refuses, and for whatever reason: it is in the trail once."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from django.db import OperationalError

from accounts import keys, snapshot
from audit import context, recording, trace
from pairing import device_code
from stabilizer.gate.admission import Gate
from stabilizer.gate.body import Patience
from tests.stabilizer.gate.door import Connection, Door, Reply
from tests.stabilizer.gate.policies import limited

ACK = f"/api/v1/pairings/{'U' * 16}/ack/"


class Refusal(NamedTuple):
    """A record of `gate.refused`."""

    limits: list[str]
    policy: str
    actor: str
    tenant: str
    decision_id: str


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[Refusal]:
    written = []

    def record(
        action: str, outcome: str, *, subject: str, actor: str, tenant: str, detail: Any
    ) -> None:
        if action == "gate.refused":
            now = context.current()
            assert subject == trace.subject(trace.read(now.decision_id).mark)
            assert (outcome, now.address, now.request_id) == (
                "refused",
                "127.0.0.1",
                now.decision_id,
            )
            assert (detail["count"], len(detail["keys"])) == (1, 1)
            refusal = Refusal(detail["limits"], detail["policy"], actor, tenant, now.decision_id)
            written.append(refusal)

    monkeypatch.setattr(recording, "record", record)
    return written


async def too_often(door: Door, key: str, **_: Any) -> Reply:
    headers = {"authorization": f"Bearer {key}"}
    await door.knock(headers=headers)
    return await door.knock(headers=headers)


async def no_slot(door: Door, gate: Gate, known: Any, **_: Any) -> Reply:
    gate.control.slots.resize(0)
    gate.control.slots.queue_length = 0
    headers = {"authorization": f"Bearer {device_code.mint(known.pk)}"}
    return await door.knock("POST", ACK, headers=headers)


async def forged(door: Door, **_: Any) -> Reply:
    headers = {"authorization": "Bearer dc_1_" + "A" * 43 + "_" + "B" * 22}
    return await door.knock("POST", ACK, headers=headers)


async def too_large(door: Door, **_: Any) -> Reply:
    return await door.knock("POST", "/api/v1/pairings/", headers={"content-length": "70000"})


async def too_slow(door: Door, gate: Gate, **_: Any) -> Reply:
    gate.patience = Patience(timeout_s=0.01)
    begun = Connection([{"type": "http.request", "body": b"x", "more_body": True}])
    headers = {"transfer-encoding": "chunked"}
    return await door.knock("POST", "/", headers=headers, connection=begun)


async def nobody_is_known(door: Door, monkeypatch: pytest.MonkeyPatch, **_: Any) -> Reply:
    def away() -> None:
        raise OperationalError(2002, "no server")

    monkeypatch.setattr(snapshot, "current", away)
    return await door.knock(headers={"authorization": "Bearer stb_some_key"})


@pytest.mark.parametrize(
    ("refuse", "status", "limits", "policy"),
    [
        (too_often, 429, ["few"], "default"),
        (no_slot, 503, ["slots"], "pairing.ack"),
        (forged, 401, ["forged"], "pairing.ack"),
        (too_large, 413, ["too_large"], "pairing.create"),
        (too_slow, 408, ["too_slow"], "default"),
        (nobody_is_known, 503, ["callers"], "default"),
    ],
)
async def test_every_refusal_is_recorded_with_its_decision(
    refuse: Callable[..., Awaitable[Reply]],
    status: int,
    limits: list[str],
    policy: str,
    door,
    gate,
    known,
    key,
    refusals,
    policies_in_force,
    monkeypatch,
):
    policies_in_force.swap(limited(("few", 1, 60)))
    reply = await refuse(door, gate=gate, known=known, key=key, monkeypatch=monkeypatch)
    assert reply.status == status
    who = (name_of(key), "acme") if refuse is too_often else ("", "")
    assert refusals == [Refusal(limits, policy, *who, reply["x-request-id"])]


def name_of(key: str) -> str:
    return "key:" + key.removeprefix(keys.SCHEME).partition("_")[0]
