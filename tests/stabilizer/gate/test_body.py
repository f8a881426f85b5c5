"""Bodies: complete before a slot is taken, bounded in size and time."""

import asyncio

import pytest
from django.conf import settings

from stabilizer.gate.body import SMALL, Patience
from tests.stabilizer.gate.door import Connection

LARGE = settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def pieces(*sizes: int) -> list[dict[str, object]]:
    last = len(sizes) - 1
    return [
        {"type": "http.request", "body": b"x" * size, "more_body": number != last}
        for number, size in enumerate(sizes)
    ]


async def post(door, messages, path="/", **headers):
    given = {"transfer-encoding": "chunked", **headers}
    return await door.knock("POST", path, headers=given, connection=Connection(messages))


async def test_a_body_in_pieces_reaches_the_app_whole(door, app):
    reply = await post(door, pieces(1, 70_000, 0, 70_000, 3))
    assert reply.status == 200
    assert [len(body) for body in app.bodies] == [140_004]


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, LARGE])
async def test_bodies_of_any_allowed_size_are_replayed(door, app, size):
    await post(door, pieces(size))
    await post(door, pieces(size // 2, size - size // 2))
    assert [len(body) for body in app.bodies] == [size, size]


@pytest.mark.parametrize("messages", [pieces(LARGE + 1), pieces(LARGE, 1)])
async def test_a_larger_upload_is_refused(door, app, messages):
    reply = await post(door, messages)
    assert (reply.status, reply.problem["code"]) == (413, "too_large")
    assert reply["connection"] == "close"
    assert app.paths == []


async def test_where_the_gate_reads_fields_64_kb_are_enough(door, app):
    reply = await post(door, pieces(SMALL, 1), "/api/v1/pairings/")
    assert reply.status == 413
    assert app.paths == []


async def test_a_body_announced_as_too_large_is_not_read(door):
    connection = Connection(pieces(10))
    reply = await door.knock(
        "POST",
        "/api/v1/pairings/",
        headers={"content-length": str(SMALL + 1)},
        connection=connection,
    )
    assert reply.status == 413
    assert len(connection._messages) == 1


async def test_a_slow_sender_holds_no_slot_and_is_sent_away(gate, door, app):
    gate.patience = Patience(timeout_s=0.1)
    connection = Connection(pieces(1, 1)[:1])
    slow = asyncio.create_task(
        door.knock("POST", "/", headers={"transfer-encoding": "chunked"}, connection=connection)
    )
    await asyncio.sleep(0.02)
    assert gate.control.slots.in_use == 0
    reply = await slow
    assert (reply.status, reply.problem["code"]) == (408, "body_timeout")
    assert reply["connection"] == "close"
    assert app.paths == []


async def test_a_cancelled_reader_stays_cancelled(gate, door):
    connection = Connection(pieces(1, 1)[:1])
    task = asyncio.create_task(
        door.knock("POST", "/", headers={"transfer-encoding": "chunked"}, connection=connection)
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_leaves_while_it_sends_reaches_nobody(door, app):
    connection = Connection(pieces(1, 1)[:1])
    connection.leave()
    reply = await door.knock(
        "POST", "/", headers={"transfer-encoding": "chunked"}, connection=connection
    )
    assert reply.status == 0
    assert app.paths == []


async def test_a_get_without_a_body_is_not_read_by_the_gate(door, app):
    connection = Connection([{"type": "http.request", "body": b"", "more_body": False}])
    reply = await door.knock(connection=connection)
    assert reply.status == 200
    assert app.bodies == [b""]
