"""Sends the head and the body of an answer in one packet, and hangs up on nobody who just came.

Uvicorn writes them one after the other, and uvloop makes a system call of each write: the second
costs as much as the first, holds the interpreter's lock, and wakes the client for half an answer.
"""

import asyncio
import select
import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: In a scope: the transport, which knows at once that its client has left.
CONNECTION = "stabilizer.connection"
#: What is held back at most, so that uvloop can tell in time that a client reads too slowly.
MOST = 1 << 14
#: Whoever has waited for so long may have given up.
PATIENT_S = 0.1
#: The client has closed its end; what is no Linux tells of both ends only.
HUNG_UP: int = getattr(select, "POLLRDHUP", select.POLLHUP)
#: For the request of a connection that was taken just before the process was told to end.
ARRIVING_S = 0.5


class Corked:
    """A transport that sends together what is written in one turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing
        #: When the client began to wait for an answer.
        self.asked_at = time.monotonic()

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)
        self._size += len(data)
        if self._size > MOST:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def has_left(self) -> bool:
        """Whether the client has hung up; in any thread.

        Of one who has waited for long the kernel knows it sooner than a busy event loop.
        """
        if self.is_closing():
            return True
        if time.monotonic() - self.asked_at < PATIENT_S:
            return False
        fd: int = self._transport.get_extra_info("socket").fileno()
        return fd < 0 or _hung_up(fd)

    def _send(self) -> None:
        written, self._written, self._size = self._written, [], 0
        if written and not self._transport.is_closing():
            self._transport.writelines(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CorkedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on a `Corked` transport, which the application finds in the scope.

    Whoever has just connected is still answered.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Corked(transport, self.loop)))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.transport.asked_at = time.monotonic()  # type: ignore[attr-defined]
        self.scope[CONNECTION] = self.transport  # type: ignore[literal-required]

    def shutdown(self) -> None:
        # Without one, nothing was asked over this connection yet.
        if self.cycle:
            super().shutdown()
        else:
            self.loop.call_later(ARRIVING_S, super().shutdown)


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, HUNG_UP)
    return bool(poll.poll(0))
