"""What uvicorn writes in one turn of the event loop leaves in one packet, and all of it leaves."""

import asyncio
import socket

import pytest

from stabilizer import corked
from stabilizer.corked import Corked


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    yield ours, theirs
    theirs.close()


@pytest.fixture
async def transport(ends):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ends[0])
    yield transport
    transport.close()


@pytest.fixture
async def written(transport):
    """A corked transport, and what it gives to the real one, write by write."""
    written = []

    class Watched:
        def __getattr__(self, name):
            return getattr(transport, name)

        def writelines(self, parts):
            written.append(b"".join(parts))
            transport.writelines(parts)

    return Corked(Watched(), asyncio.get_running_loop()), written


async def test_a_head_and_a_body_go_together(written, ends):
    transport, writes = written
    transport.write(b"head ")
    transport.write(b"body")
    assert writes == []
    await asyncio.sleep(0)
    assert writes == [b"head body"]
    assert ends[1].recv(100) == b"head body"


async def test_what_comes_later_goes_later(written, ends):
    transport, writes = written
    for part in (b"one", b"two"):
        transport.write(part)
        await asyncio.sleep(0)
    assert writes == [b"one", b"two"]


async def test_a_stream_that_does_not_pause_is_not_collected(written):
    transport, writes = written
    for _ in range(3):
        transport.write(b"x" * (corked.MOST + 1))
    assert len(writes) == 3


async def test_closing_sends_what_was_written(written, ends):
    transport, _ = written
    transport.write(b"last words")
    transport.close()
    assert transport.is_closing()
    await asyncio.sleep(0)
    assert ends[1].recv(100) == b"last words"
    assert ends[1].recv(100) == b""


async def test_a_connection_that_was_lost_is_not_written_to(written, transport):
    ours, writes = written
    ours.write(b"too late")
    transport.abort()
    await asyncio.sleep(0)
    assert writes == []


async def test_everything_else_is_the_transport_s(written, transport, ends):
    assert written[0].get_extra_info("socket").fileno() == ends[0].fileno()


async def test_of_a_client_who_waited_for_long_the_kernel_is_asked_whether_it_has_left(
    written, ends, monkeypatch
):
    transport, _ = written
    monkeypatch.setattr(corked, "PATIENT_S", 0)
    assert not transport.has_left()
    ends[1].close()
    # The event loop has not heard of it yet.
    assert not transport.is_closing()
    assert transport.has_left()


async def test_who_has_just_asked_is_believed_to_be_there(written, ends):
    transport, _ = written
    ends[1].close()
    assert not transport.has_left()
    await asyncio.sleep(0.01)
    assert transport.has_left()
