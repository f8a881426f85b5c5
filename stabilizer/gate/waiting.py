"""A request of an event loop waits for its slot."""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any

from stabilizer.gate.slots import Slots
from stabilizer.gate.ticket import State, Ticket


class Outcome(Enum):
    GRANTED = auto()
    #: The queue is full.
    FULL = auto()
    #: The deadline passed.
    LATE = auto()
    CLIENT_GONE = auto()


async def wait(
    slots: Slots,
    ticket: Ticket,
    wait_s: float,
    disconnected: Callable[[], Coroutine[Any, Any, None]],
) -> Outcome:
    """Wait at most `wait_s`, until the ticket's deadline, and no longer than the client does.

    `disconnected` returns when the client has left; it is only awaited here, so a request that need
    not wait pays for no task. Unless the outcome is GRANTED, the ticket holds nothing afterwards.
    """
    loop = asyncio.get_running_loop()
    settled: asyncio.Future[None] = loop.create_future()
    ticket.wake = lambda: None if settled.done() else settled.set_result(None)
    if not slots.join(ticket):
        return Outcome.FULL
    if ticket.state is State.GRANTED:
        return Outcome.GRANTED
    watcher = loop.create_task(disconnected())
    watcher.add_done_callback(lambda _: slots.drop(ticket))
    timer = loop.call_later(wait_s, slots.drop, ticket)
    try:
        await settled
        watcher.cancel()
        await asyncio.wait((watcher,))
    except BaseException:
        slots.leave(ticket)
        raise
    finally:
        timer.cancel()
        watcher.cancel()
    return _outcome(slots, ticket, watcher)


def _outcome(slots: Slots, ticket: Ticket, watcher: asyncio.Task[None]) -> Outcome:
    if not watcher.cancelled():
        watcher.exception()
        # It may have been granted in the very tick in which its client left.
        slots.leave(ticket)
        return Outcome.CLIENT_GONE
    return Outcome.GRANTED if ticket.state is State.GRANTED else Outcome.LATE
