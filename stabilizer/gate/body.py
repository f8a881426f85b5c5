"""A request's body, complete before a slot is taken, so that a slow sender holds none."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import IO, Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

#: Bytes, enough for every call of the API; kept in memory. What is larger waits on disk.
SMALL = 64 * 1024
TIMEOUT_S = 10.0
#: Looks at the clock within one time-out.
LOOKS = 10


class Unread(Enum):
    """Why there is no body."""

    TOO_LARGE = auto()
    TOO_SLOW = auto()
    CLIENT_GONE = auto()


@dataclass(slots=True)
class Body:
    """A complete body. `small` holds it unless it had to go to disk."""

    small: bytes = b""
    spooled: IO[bytes] | None = None

    def close(self) -> None:
        if self.spooled is not None:
            self.spooled.close()


EMPTY = Body()


def announced_above(content_length: str, limit: int) -> bool:
    """The client says itself that its body is too large: there is no need to read it."""
    return content_length.isdecimal() and int(content_length[:20]) > limit


class Patience:
    """Ends reads that take longer than `timeout_s`, with one timer for all: most need none."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._began: dict[asyncio.Task[Any], float] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, receive: Receive, limit: int) -> Body | Unread:
        """The whole body, of at most `limit` bytes, or why there is none."""
        task = asyncio.current_task()
        assert task is not None
        self._began[task] = time.monotonic()
        if self._timer is None:
            self._watch()
        try:
            return await _read(receive, limit)
        except asyncio.CancelledError:
            if task in self._ended and not task.uncancel():
                return Unread.TOO_SLOW
            raise
        finally:
            del self._began[task]
            self._ended.discard(task)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._timeout_s / LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        due = time.monotonic() - self._timeout_s
        for task in [task for task, began in self._began.items() if began <= due]:
            if task not in self._ended:
                self._ended.add(task)
                task.cancel()
        if self._began:
            self._watch()


async def _read(receive: Receive, limit: int) -> Body | Unread:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        chunk = message.get("body", b"")
        return Unread.TOO_LARGE if len(chunk) > limit else _whole(chunk)
    spool = tempfile.SpooledTemporaryFile(max_size=SMALL)  # noqa: SIM115
    body: Body | Unread = Unread.CLIENT_GONE
    try:
        body = await _read_into(spool, message, receive, limit)
    finally:
        if not (isinstance(body, Body) and body.spooled):
            spool.close()
    return body


async def _read_into(
    spool: IO[bytes], message: Message, receive: Receive, limit: int
) -> Body | Unread:
    while message["type"] == "http.request":
        spool.write(message.get("body", b""))
        size = spool.tell()
        if size > limit:
            return Unread.TOO_LARGE
        if not message.get("more_body", False):
            spool.seek(0)
            return _whole(spool.read()) if size <= SMALL else Body(spooled=spool)
        message = await receive()
    return Unread.CLIENT_GONE


def _whole(content: bytes) -> Body:
    if len(content) <= SMALL:
        return Body(content)
    # One large message is in memory already, but should not stay there while its request waits.
    spool = tempfile.TemporaryFile()  # noqa: SIM115
    spool.write(content)
    spool.seek(0)
    return Body(spooled=spool)


class Replay:
    """`receive` of a request whose body was read: gives it again, then what the server sends."""

    __slots__ = ("_body", "_gone", "_receive", "_replayed")

    def __init__(self, body: Body, receive: Receive) -> None:
        self._body = body
        self._receive = receive
        self._replayed = False
        self._gone = False

    async def __call__(self) -> Message:
        if self._gone:
            return {"type": "http.disconnect"}
        if self._replayed:
            return await self._receive()
        if self._body.spooled is None:
            self._replayed = True
            return {"type": "http.request", "body": self._body.small, "more_body": False}
        chunk = self._body.spooled.read(SMALL)
        self._replayed = len(chunk) < SMALL
        return {"type": "http.request", "body": chunk, "more_body": not self._replayed}

    async def disconnected(self) -> None:
        """Returns when the client has left. Only before the app has begun to receive."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
