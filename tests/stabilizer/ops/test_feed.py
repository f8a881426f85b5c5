"""The stream: what it begins with, what follows, how it ends, and that it holds no slot."""

import asyncio
import json

import pytest
from django.test import Client

from accounts.models import User
from ratelimit.store import Store
from stabilizer.ops import feed, shelf
from stabilizer.ops.collector import columns
from stabilizer.ops.feed import Feed
from stabilizer.serving import Serving
from tests.stabilizer.gate.door import Connection, scope_of


def event(part: bytes) -> tuple[str, dict]:
    lines = dict(line.split(": ", 1) for line in part.decode().strip().splitlines() if line)
    return lines["event"], json.loads(lines["data"])


async def test_the_first_event_is_what_is_kept_and_the_next_what_is_known_now(store, collectors):
    collector = collectors(store)
    await collector.tick()
    await collector.tick()
    stream = Feed(collector).stream(["[1, 2]"])
    assert event(await anext(stream)) == ("history", {"columns": columns(), "rows": [[1, 2]]})
    name, now = event(await anext(stream))
    assert name == "now"
    assert now["scope"] == "fleet"
    assert [each["role"] for each in now["processes"]] == ["web"]
    # Nothing is new: a comment, that keeps the connection.
    assert await anext(stream) == feed.COMMENT
    await stream.aclose()


async def test_without_redis_the_stream_goes_on_with_what_this_process_knows(collectors):
    away = Store("redis://127.0.0.1:1/0")
    collector = collectors(away)
    await collector.tick()
    stream = Feed(collector).stream([])
    await anext(stream)
    name, now = event(await anext(stream))
    row = dict(zip(columns(), now["row"], strict=True))
    assert (name, now["scope"], row["redis"]) == ("now", "process", 0)
    await stream.aclose()
    away.close()


async def test_all_streams_end_when_their_process_does(store, collectors):
    live = Feed(collectors(store))

    async def look() -> int:
        return len([part async for part in live.stream([])])

    looking = [asyncio.create_task(look()) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert live.open == 3
    await live.close()
    await asyncio.wait_for(asyncio.gather(*looking), 1)
    assert live.open == 0


async def test_a_stream_ends_in_time_so_that_its_person_is_asked_for_again(store, collectors):
    parts = [part async for part in Feed(collectors(store), stream_s=0).stream([])]
    assert len(parts) == 1


@pytest.mark.django_db(transaction=True)
async def test_a_stream_holds_neither_a_slot_nor_a_thread(
    gates, store, collectors, monkeypatch, redis_client
):
    cookie = await asyncio.to_thread(staff_cookie)
    shelf.forget()
    collector = collectors(store)
    await collector.tick()
    await collector.tick()
    monkeypatch.setattr(feed, "_feed", Feed(collector))
    serving = Serving(threads=1)
    gate = await gates(serving, threads=1)
    connection = Connection([{"type": "http.request", "body": b""}])
    scope = scope_of("GET", "/ops/stream/", {"cookie": cookie})
    stream = asyncio.create_task(gate(scope, connection.receive, connection.send))
    while b"event: now" not in connection.reply.body:
        assert not stream.done(), connection.reply
        # What was told expires after a while, on a slow machine before the stream begins.
        await collector.tick()
        await asyncio.sleep(0.01)
    assert connection.reply.status == 200
    assert connection.reply["content-type"].startswith("text/event-stream")
    assert gate.control.slots.in_use == 0
    other = Connection([{"type": "http.request", "body": b""}])
    await asyncio.wait_for(gate(scope_of("GET", "/ops/", {}), other.receive, other.send), 5)
    assert other.reply.status == 302
    connection.leave()
    await asyncio.wait_for(stream, 5)
    assert await asyncio.to_thread(serving.close)


def staff_cookie() -> str:
    from django.db import connections

    client = Client()
    client.force_login(User.objects.create_user("olga", password="x", is_staff=True))
    connections.close_all()
    return f"sessionid={client.cookies['sessionid'].value}"
