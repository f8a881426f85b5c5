"""The same request again while it is refused: the same answer, and nobody else's."""

import pytest

from audit import recording
from ratelimit.limiter import Limiter
from stabilizer.gate import identity, policy, repeats
from stabilizer.gate.address import Proxies
from stabilizer.gate.arrival import Arrival
from stabilizer.gate.headers import Headers
from stabilizer.gate.identity import Caller
from stabilizer.gate.policy import DEFAULTS
from tests.stabilizer.gate.door import Door, create
from tests.stabilizer.gate.policies import limited


@pytest.fixture
def looked_at(monkeypatch):
    """The paths of requests that the gate read anew."""
    paths = []
    read = Arrival.read

    def counted(method, path, *given):
        paths.append(path)
        return read(method, path, *given)

    monkeypatch.setattr(Arrival, "read", counted)
    return paths


@pytest.fixture
async def gate(store, gates, app, hand):
    return await gates(app, limiter=Limiter(store, clock=hand), clock=hand)


@pytest.fixture
def door(gate):
    return Door(gate)


@pytest.fixture
async def refused(door, policies_in_force):
    """Of `/limited` one request in ten seconds is let in: the next ones are refused from memory."""
    policies_in_force.swap(limited(("one", 1, 10)))
    for _ in range(3):
        reply = await door.knock(path="/limited")
    assert reply.status == 429
    return reply


async def test_the_same_request_hears_the_same_under_another_decision(door, refused, looked_at):
    again = await door.knock(path="/limited")
    assert again.status == 429
    assert again["x-request-id"] == again.problem["decision"] != refused["x-request-id"]
    ids = {refused["x-request-id"], again["x-request-id"]}
    assert _without(again, ids) == _without(refused, ids)
    assert not looked_at


async def test_each_second_less_to_wait_is_told(door, refused, hand):
    waits = []
    for _ in range(4):
        waits.append((await door.knock(path="/limited"))["retry-after"])
        hand.now += 1
    assert waits == ["10", "9", "8", "7"]


async def test_it_is_decided_anew_when_the_second_is_over(door, refused, looked_at, hand):
    await door.knock(path="/limited")
    hand.now += 1
    await door.knock(path="/limited")
    assert looked_at == ["/limited"]


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/other"},
        {"peer": "192.0.2.7"},
        {"headers": {"x-device-fingerprint": "other"}},
        {"method": "PUT"},
        {"content": b"something"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_another_request_is_looked_at(door, refused, looked_at, other):
    await door.knock(**{"path": "/limited", **other})
    assert looked_at


async def test_a_body_of_another_device_is_not_taken_for_the_refused_one(door, known):
    statuses = [(await create(door, udid="aabbccddee01")).status for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    assert (await create(door, udid="aabbccddee02")).status == 200
    assert (await create(door, udid="aabbccddee01")).status == 429


async def test_a_change_of_the_policies_is_heard_at_once(door, gate, refused, policies_in_force):
    policies_in_force.swap(DEFAULTS)
    gate.control.limiter.refusals.clear()
    assert (await door.knock(path="/limited")).status == 200


async def test_what_was_given_back_can_be_had_at_once(door, gate, refused):
    caller = Caller("127.0.0.1", Headers(()), {})
    charges = identity.charges(policy.match("GET", "/limited"), caller)
    await gate.control.limiter.refund(charges)
    assert (await door.knock(path="/limited")).status == 200


async def test_all_repeats_are_counted_in_the_trail(door, gate, refused, monkeypatch):
    counts = []

    def record(*_, detail, **__):
        counts.append(detail["count"])

    monkeypatch.setattr(recording, "record", record)
    for _ in range(20):
        await door.knock(path="/limited")
    await gate.stop()
    assert counts == [21]


async def test_a_large_request_is_not_remembered(door, refused, looked_at):
    for _ in range(2):
        await door.knock(path="/limited", headers={"x-long": "x" * repeats.LONGEST})
    assert looked_at == ["/limited"] * 2


async def test_a_request_that_a_proxy_of_ours_has_named_keeps_its_name(door, gate, refused):
    gate.control.proxies = Proxies(["127.0.0.1/32"])
    for _ in range(3):
        reply = await door.knock(path="/limited", headers={"x-request-id": "named-before"})
        assert (reply.status, reply["x-request-id"]) == (429, "named-before")


async def test_nothing_is_kept_when_the_last_second_is_over(door, gate, refused, hand):
    await door.knock(path="/limited")
    hand.now += 1
    await door.knock(path="/static/app.css")
    assert not gate.control.repeats._known


async def test_the_oldest_is_forgotten_first(door, refused, looked_at, monkeypatch):
    monkeypatch.setattr(repeats, "MOST", 2)
    for path in ("/limited/1", "/limited/2", "/limited/2", "/limited"):
        await door.knock(path=path)
    assert looked_at == ["/limited/1", "/limited/2", "/limited"]


def _without(reply, ids):
    headers = [(name, value) for name, value in reply.headers if value not in ids]
    return headers, {**reply.problem, "decision": ""}
