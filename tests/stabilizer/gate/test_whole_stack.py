"""The gate before Django in its pool of threads, on the real database."""

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.db.backends.signals import connection_created

from pairing import device_code
from stabilizer.serving import Serving
from tests.stabilizer.gate.door import Connection, Door

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def serving():
    serving = Serving(threads=2)
    yield serving
    assert serving.close()


@pytest.fixture
async def stack(gates, serving, known):
    return Door(await gates(serving))


@contextmanager
def no_database():
    """Fails on any query of this thread, and on any connection that anybody opens."""
    opened = []

    def query(*_):
        raise AssertionError("a query was made")

    def count(**_):
        opened.append(threading.current_thread().name)

    connection_created.connect(count)
    try:
        with connection.execute_wrapper(query):
            yield
    finally:
        connection_created.disconnect(count)
    assert opened == []


@contextmanager
def garbage() -> Iterator[list[Any]]:
    """What only the collector finds of all that is made in the block; filled when it ends."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    found: list[Any] = []
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def serving_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("serving-")]


async def test_refused_requests_make_no_query_open_no_connection_and_take_no_thread(stack, known):
    forged = {"authorization": "Bearer dc_1_" + "A" * 43 + "_" + "B" * 22}
    code = {"authorization": f"Bearer {device_code.mint(known.pk)}"}
    path = "/api/v1/pairings/U/credentials/"
    with no_database():
        assert (await stack.knock("POST", path, headers=forged)).status == 401
        large = {"content-length": "70000"}
        assert (await stack.knock("POST", "/api/v1/pairings/", headers=large)).status == 413
        stack.app.control.slots.resize(0)
        late = {"x-deadline-ms": "1", **code}
        statuses = [(await stack.knock("POST", path, headers=late)).status for _ in range(5)]
        assert statuses == [503] * 5
        stack.app.control.slots.queue_length = 0
        assert (await stack.knock("POST", path, headers=code)).status == 503
    assert serving_threads() == []


async def test_a_caller_over_its_limit_makes_no_query(stack, known):
    headers = {"authorization": f"Bearer {device_code.mint(known.pk)}"}
    path = "/api/v1/pairings/U/credentials/"
    admitted = [await stack.knock("POST", path, headers=headers) for _ in range(5)]
    assert 429 not in {reply.status for reply in admitted}
    with no_database():
        refused = [await stack.knock("POST", path, headers=headers) for _ in range(20)]
    assert {reply.status for reply in refused} == {429}


async def test_what_was_served_is_not_left_to_the_garbage_collector(stack, known, key):
    code = {"authorization": f"Bearer {device_code.mint(known.pk)}"}
    operator = {"authorization": f"Bearer {key}"}
    wishes = {"app_type": "tv", "model": "M"}
    with garbage() as found:
        assert (await stack.knock(path="/api/v1/me/")).status == 401
        assert (await stack.knock("POST", "/api/v1/pairings/U/ack/", headers=code)).status == 404
        assert (await stack.knock(path="/api/v1/devices/", headers=operator)).status == 200
        assert (await stack.knock(path="/static/admin/css/base.css")).status == 200
        assert (await stack.knock("POST", "/api/v1/pairings/", data=wishes)).status == 201
    assert [each for each in found if isinstance(each, ASGIRequest)] == []
    assert [each for each in found if isinstance(each, dict) and each.get("type") == "http"] == []


async def test_django_sees_the_clients_address_and_the_answer_carries_the_id(stack):
    reply = await stack.knock(path="/api/v1/me/")
    assert reply.status == 401
    assert len(reply["x-request-id"]) == 32
    assert reply.admission.policy == "me"
    assert reply.scope["client"] == ("127.0.0.1", 4711)


async def test_a_head_request_is_answered_as_a_get_without_a_body(stack):
    reply = await stack.knock("HEAD", "/api/v1/me/")
    assert (reply.status, reply.body) == (401, b"")


async def test_who_reads_a_file_slowly_holds_a_slot_only_while_it_is_opened(stack):
    read = asyncio.Event()

    class SlowReader(Connection):
        async def send(self, message):
            await super().send(message)
            if message["type"] == "http.response.body":
                await read.wait()

    connection = SlowReader([{"type": "http.request", "body": b""}])
    path = "/static/admin/css/base.css"
    asked = asyncio.create_task(stack.knock(path=path, connection=connection))
    async with asyncio.timeout(10):
        while not connection.reply.body:
            await asyncio.sleep(0.001)
    assert stack.app.control.slots.in_use == 0
    assert not asked.done()
    read.set()
    assert (await asked).status == 200


async def test_a_chunked_body_is_read_as_any_other(stack):
    body = json.dumps({"app_type": "tv", "udid": "A" * 16}).encode()
    chunks = [{"type": "http.request", "body": body[:9], "more_body": True}]
    chunks += [{"type": "http.request", "body": body[9:]}]
    reply = await stack.knock(
        "POST",
        "/api/v1/pairings/",
        headers={"transfer-encoding": "chunked", "content-type": "application/json"},
        connection=Connection(chunks),
    )
    assert reply.status == 201, reply.body
