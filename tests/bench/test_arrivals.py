"""Clients arrive by a clock of their own, wait as long as they want to, and are counted once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.arrivals import UNANSWERED, OpenLoop, Stream, Tally, moments, visits

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"

Answer = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[tuple[int, list[int]]]:
    """A server of this answer: its port, and a list that grows with each connection."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(await answer())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], connections


async def at_once() -> bytes:
    return OK


def test_arrivals_have_their_rate_and_come_in_the_same_moments_in_every_run() -> None:
    first, second = list(moments(500, 4)), list(moments(500, 4))

    assert first == second == sorted(first)
    assert len(first) == pytest.approx(2_000, rel=0.1)
    assert 0 < first[0] < first[-1] < 4


def test_who_comes_late_comes_as_often_as_he_would_have_and_only_then() -> None:
    early, late = Stream("early", ["GET /"], 500), Stream("late", ["GET /"], 500, late_s=3)

    came = list(visits([early, late], 4))

    assert came == sorted(came)
    assert min(due_s for due_s, number in came if number == 0) < 0.1
    of_late = [due_s for due_s, number in came if number == 1]
    assert of_late == [due_s for due_s in moments(500, 4, seed=2) if due_s >= 3]
    assert len(of_late) == pytest.approx(500, rel=0.2)


async def test_nobody_waits_for_the_answer_of_another() -> None:
    both_here = asyncio.Barrier(2)

    async def together() -> bytes:
        # Answers none before both have asked.
        await both_here.wait()
        return OK

    async with served(together) as (port, connections):
        loop, tally = OpenLoop(port, deadline_s=10), Tally()
        loop.arrive(REQUEST, tally)
        loop.arrive(REQUEST, tally)
        await loop.empty()

    assert tally.answers == {200: 2}
    assert len(connections) == 2


async def test_who_has_no_answer_at_the_deadline_hangs_up() -> None:
    async with served(asyncio.Event().wait) as (port, _):  # type: ignore[arg-type]
        loop, tally = OpenLoop(port, deadline_s=0.05), Tally()
        loop.arrive(REQUEST, tally)
        await loop.empty()

    assert tally.answers == {UNANSWERED: 1}
    assert loop.idle == []


async def test_who_finds_nobody_is_counted_as_unanswered() -> None:
    async with served(at_once) as (port, _):
        pass
    loop, tally = OpenLoop(port, deadline_s=5), Tally()
    loop.arrive(REQUEST, tally)
    await loop.empty()

    assert tally.answers == {UNANSWERED: 1}


async def test_a_connection_that_was_left_is_taken_by_the_next() -> None:
    async with served(at_once) as (port, connections):
        loop, tally = OpenLoop(port, deadline_s=5), Tally()
        for _ in range(3):
            loop.arrive(REQUEST, tally)
            await asyncio.wait(loop.present)
        await loop.empty()

    assert tally.answers == {200: 3}
    assert len(connections) == 1


async def test_a_connection_that_was_left_and_then_closed_is_not_taken() -> None:
    async with served(at_once) as (port, connections):
        loop, tally = OpenLoop(port, deadline_s=5), Tally()
        loop.arrive(REQUEST, tally)
        await asyncio.wait(loop.present)
        loop.idle[0].usable = False
        loop.arrive(REQUEST, tally)
        await loop.empty()

    assert tally.answers == {200: 2}
    assert len(connections) == 2


async def test_refusals_are_counted_by_their_status_and_the_lead_not_at_all() -> None:
    async def refuse() -> bytes:
        return REFUSED

    async with served(refuse) as (port, _):
        loop, tally = OpenLoop(port, deadline_s=5), Tally()
        loop.arrive(REQUEST)
        loop.arrive(REQUEST, tally)
        await loop.empty()

    assert tally.answers == {503: 1}
