"""Nobody waits for a client that does not read, and nothing grows while it does not."""

import asyncio

import pytest

from realtime import outbox as outboxes
from realtime.outbox import CHARACTERS, MESSAGES, Outbox
from tests.ratelimit.test_leases import eventually


class Client:
    """Reads when it may; counts what it was sent and how often it was found stuck."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.stuck = 0

    async def send(self, text: str) -> None:
        await self.may_read.wait()
        self.read.append(text)

    def on_stuck(self) -> None:
        self.stuck += 1


@pytest.fixture
async def client() -> Client:
    return Client()


@pytest.fixture
async def outbox(client: Client) -> Outbox:
    return Outbox(client.send, client.on_stuck)


async def test_messages_leave_in_order_and_nothing_stays_behind(
    client: Client, outbox: Outbox
) -> None:
    for number in range(MESSAGES):
        outbox.put(str(number))
    await eventually(lambda: len(client.read) == MESSAGES)
    assert client.read == [str(number) for number in range(MESSAGES)]
    await eventually(lambda: outbox._pump is None)
    outbox.put("later")
    await eventually(lambda: client.read[-1] == "later")
    assert client.stuck == 0


async def test_a_client_that_does_not_read_is_found_stuck_once(
    client: Client, outbox: Outbox
) -> None:
    client.may_read.clear()
    for number in range(MESSAGES + 10):
        outbox.put(str(number))
    assert client.stuck == 1
    client.may_read.set()
    await asyncio.sleep(0.01)
    assert client.read == []


async def test_so_is_one_for_which_too_much_waits(client: Client, outbox: Outbox) -> None:
    client.may_read.clear()
    outbox.put("x" * CHARACTERS)
    assert client.stuck == 0
    outbox.put("x")
    assert client.stuck == 1


async def test_so_is_one_to_which_a_message_cannot_be_sent_in_time(
    client: Client, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "SEND_S", 0.05)
    client.may_read.clear()
    outbox.put("hello")
    await eventually(lambda: client.stuck == 1)


async def test_flushing_sends_what_waits_and_takes_no_more(client: Client, outbox: Outbox) -> None:
    outbox.put("bye")
    assert await outbox.flush()
    outbox.put("after")
    assert client.read == ["bye"]


async def test_flushing_to_a_client_that_does_not_read_says_so(
    client: Client, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "SEND_S", 0.05)
    client.may_read.clear()
    outbox.put("bye")
    assert not await outbox.flush()
    assert client.stuck == 1


async def test_a_client_that_has_left_is_nobodys_fault() -> None:
    async def gone(text: str) -> None:
        raise ConnectionResetError

    client = Client()
    outbox = Outbox(gone, client.on_stuck)
    outbox.put("hello")
    assert await outbox.flush()
    assert client.stuck == 0


async def test_closing_sends_nothing_more(client: Client, outbox: Outbox) -> None:
    client.may_read.clear()
    outbox.put("hello")
    await asyncio.sleep(0)
    outbox.close()
    client.may_read.set()
    await asyncio.sleep(0.01)
    outbox.put("after")
    assert (client.read, client.stuck) == ([], 0)
