"""A closed loop asks again and again until its end, whatever becomes of a connection."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from bench.saturation import ClosedLoop, Load

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LAST = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def served(*answers: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server of these answers, over and over; an empty one breaks the connection."""
    asked: list[bytes] = []
    coming = itertools.cycle(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while answer := await _next(reader):
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _next(reader: asyncio.StreamReader) -> bytes:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        return next(coming)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def requests(*words: bytes) -> Iterator[bytes]:
    return itertools.cycle([b"GET /%s HTTP/1.1\r\n\r\n" % word for word in words])


async def test_every_client_asks_at_least_once_and_in_turn() -> None:
    async with served(OK) as (port, asked):
        loop = ClosedLoop(port, requests(b"a", b"b"), load_s=0)
        await asyncio.gather(*(loop.client() for _ in range(4)))

    assert loop.answers == {200: 4}
    assert sorted(asked) == [b"GET /a HTTP/1.1\r\n\r\n"] * 2 + [b"GET /b HTTP/1.1\r\n\r\n"] * 2


async def test_a_client_asks_on_over_its_connection_until_the_end() -> None:
    async with served(OK) as (port, asked):
        loop = ClosedLoop(port, requests(b""), load_s=0.1)
        await loop.client()

    assert loop.answers[200] == len(loop.waits_s) == len(asked) > 1
    assert loop.errors == 0


async def test_a_broken_connection_is_an_error_and_is_made_anew() -> None:
    async with served(OK, b"") as (port, _):
        loop = ClosedLoop(port, requests(b""), load_s=0.1)
        await loop.client()

    assert loop.answers[200] >= 1
    assert loop.errors >= 1


async def test_a_connection_that_the_server_closes_in_order_is_no_error() -> None:
    async with served(LAST) as (port, _):
        loop = ClosedLoop(port, requests(b""), load_s=0.1)
        await loop.client()

    assert loop.answers[503] > 1
    assert loop.errors == 0


def test_a_rate_counts_only_the_answers_that_were_asked_for() -> None:
    load = Load({"200": 60, "503": 30}, errors=1, took_s=3.0, p95_s=0.1, cpu_share=0.2)

    assert load.per_second(200) == 20.0
    assert load.answered(429) == 0
