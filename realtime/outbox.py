"""What waits to be sent to one client, and who sends it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

#: Messages, and characters of them, that may wait for a client that does not read.
MESSAGES = 16
CHARACTERS = 64 * 1024
#: How long one message may take to leave.
SEND_S = 2.0

Send = Callable[[str], Awaitable[None]]


async def _nowhere(text: str) -> None:
    """Where a closed outbox sends to."""


def _nobody() -> None:
    """Whom a closed outbox tells that it is stuck."""


class Outbox:
    """Sends one message after the other in a task of its own, which lives while there are any.

    Whoever reads from the client never waits for it to read. `on_stuck` is called, once, when
    `MESSAGES` or `CHARACTERS` wait, or one could not be sent in `SEND_S`; nothing is sent then.
    """

    __slots__ = ("_closed", "_is_stuck", "_on_stuck", "_pump", "_send", "_size", "_waiting")

    def __init__(self, send: Send, on_stuck: Callable[[], object]) -> None:
        self._send = send
        self._on_stuck = on_stuck
        self._waiting: deque[str] | None = None
        self._size = 0
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self._is_stuck = False

    def put(self, text: str) -> None:
        """Have `text` sent after what waits already."""
        if self._closed:
            return
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= MESSAGES or self._size + len(text) > CHARACTERS:
            self._stuck()
            return
        self._waiting.append(text)
        self._size += len(text)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._send_all())

    async def flush(self) -> bool:
        """Take nothing more, and send what waits; False if the client does not read it."""
        self._closed = True
        if self._pump is not None:
            await asyncio.wait([self._pump])
        return not self._is_stuck

    def close(self) -> None:
        """Send nothing more, and let go of whoever it was sent for."""
        self._closed = True
        if self._pump is not None:
            self._pump.cancel()
        self._send, self._on_stuck = _nowhere, _nobody

    async def _send_all(self) -> None:
        assert self._waiting is not None
        try:
            while self._waiting:
                text = self._waiting[0]
                async with asyncio.timeout(SEND_S):
                    await self._send(text)
                self._waiting.popleft()
                self._size -= len(text)
            self._waiting = None
        except TimeoutError:
            self._stuck()
        except OSError:
            # The client has left; whoever reads from it hears so too.
            self._closed = True
        finally:
            self._pump = None

    def _stuck(self) -> None:
        if not self._is_stuck:
            self._is_stuck = self._closed = True
            if self._pump is not None and self._pump is not asyncio.current_task():
                self._pump.cancel()
            self._on_stuck()
