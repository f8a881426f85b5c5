"""A device of the load obeys the gateway to the moment, and whatever goes wrong is counted."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from bench import waiting
from bench.waiting import Devices
from stabilizer.stampede.websocket import SUBPROTOCOL

PENDING = {"type": "pending", "version": 7, "expires_in": 600, "interval": 5}
DRAINING = {"type": "bye", "code": "draining", "retry_after_ms": 150}

Talk = Callable[[ServerConnection, dict[str, Any], int], Awaitable[None]]


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AGAIN_S", 0.05)


@pytest.fixture
def file(tmp_path: Path) -> str:
    file = tmp_path / "pairings"
    file.write_text("".join(f"tv-{number} dc_{number} CODE{number}\n" for number in range(4)))
    return str(file)


@contextlib.asynccontextmanager
async def gateway(talk: Talk, **options: Any) -> AsyncIterator[str]:
    """A gateway that says what `talk` says, given the hello and how many came before."""
    came = 0

    async def run(connection: ServerConnection) -> None:
        nonlocal came
        came += 1
        await talk(connection, json.loads(await connection.recv()), came - 1)
        await connection.wait_closed()

    words = [Subprotocol(SUBPROTOCOL)]
    async with serve(run, "127.0.0.1", 0, subprotocols=words, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/pairings/"


async def say(connection: ServerConnection, message: dict[str, Any]) -> None:
    await connection.send(json.dumps(message))


async def test_all_wait_once_each_is_answered(file: str) -> None:
    async def talk(connection: ServerConnection, hello: dict[str, Any], before: int) -> None:
        await say(connection, PENDING)

    async with gateway(talk) as url:
        devices = Devices(url, file, 1, 2)
        came = await devices.come(at_once=1, limit_s=10)
        left = await devices.leave()

    assert (came["waiting"], left["waiting"]) == (2, 0)
    assert came["broken"] == came["others"] == {}
    assert came["took_s"] > 0


async def test_a_device_that_is_sent_away_is_back_in_time_with_what_it_knows(file: str) -> None:
    heard: list[tuple[float, dict[str, Any]]] = []

    async def talk(connection: ServerConnection, hello: dict[str, Any], before: int) -> None:
        heard.append((asyncio.get_running_loop().time(), hello))
        await say(connection, PENDING)
        if before == 0:
            await say(connection, DRAINING)
            await connection.close(4430)

    async with gateway(talk) as url:
        devices = Devices(url, file, 0, 1)
        await devices.come(at_once=1, limit_s=10)
        while len(heard) < 2:
            await asyncio.sleep(0.01)
        told = await devices.settle(limit_s=10)

    assert [hello.get("resume") for _, hello in heard] == [None, 7]
    assert heard[1][0] - heard[0][0] >= 0.149
    assert (told["waiting"], told["told"], len(told["late_s"])) == (1, 1, 1)
    assert 0 <= told["late_s"][0] < 5
    assert (told["broken"], told["others"]) == ({}, {"bye draining": 1})


async def test_the_moment_of_an_approval_is_kept(file: str) -> None:
    async def talk(connection: ServerConnection, hello: dict[str, Any], before: int) -> None:
        await say(connection, PENDING)
        await say(connection, {"type": "approved", "version": 9})

    async with gateway(talk) as url:
        devices = Devices(url, file, 2, 1)
        began = (await devices.come(at_once=1, limit_s=10))["began"]
        told = await devices.settle(limit_s=10, approved=1)

    assert list(told["approved"]) == ["tv-2"]
    assert began < told["approved"]["tv-2"] <= told["at"]


async def test_a_connection_that_ends_without_a_bye_is_counted_and_made_again(file: str) -> None:
    async def talk(connection: ServerConnection, hello: dict[str, Any], before: int) -> None:
        if before:
            await say(connection, PENDING)
        else:
            connection.transport.abort()

    async with gateway(talk) as url:
        devices = Devices(url, file, 0, 1)
        told = await devices.come(at_once=1, limit_s=10)

    assert told["broken"] == {"closed 1006": 1}
    assert told["waiting"] == 1
    assert told["told"] == 0


async def test_an_answer_that_is_no_websocket_is_counted_by_its_status(file: str) -> None:
    refused = 0

    def refuse_once(connection: ServerConnection, request: Any) -> Any:
        nonlocal refused
        refused += 1
        return connection.respond(503, "later") if refused == 1 else None

    async def talk(connection: ServerConnection, hello: dict[str, Any], before: int) -> None:
        await say(connection, PENDING)

    async with gateway(talk, process_request=refuse_once) as url:
        devices = Devices(url, file, 0, 1)
        told = await devices.come(at_once=1, limit_s=10)

    assert told["broken"] == {"answered 503": 1}
    assert told["waiting"] == 1


async def test_where_nobody_listens_nobody_is_served(file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    devices = Devices(f"ws://127.0.0.1:{port}/ws/pairings/", file, 0, 2)
    told = await devices.come(at_once=2, limit_s=0.02)
    await devices.leave()

    assert told["waiting"] == 0
    assert told["broken"] == {"refused": 2}
