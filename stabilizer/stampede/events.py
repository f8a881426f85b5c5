"""Server-sent events with little more than what the wire needs: thousands in one process.

https://html.spec.whatwg.org/multipage/server-sent-events.html, of which a client needs no more than
the data here: each message says in its JSON what the event's name and id say too.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from stabilizer.stampede.connection import Answer, Broken, Wire
from stabilizer.stampede.target import PORTS
from stabilizer.stampede.websocket import Message

#: As a WebSocket ends: the stream was complete, or broke off.
COMPLETE, BROKEN_OFF = 1000, 1006


class Stream(Wire):
    """One stream. `on_message` is called with each message, `on_end` once after an answer of 200.

    What `on_end` is told is `COMPLETE` or `BROKEN_OFF`.
    """

    def __init__(
        self, on_message: Callable[[Message], None], on_end: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._on_message = on_message
        self._on_end = on_end
        self._streams = False
        self._rest = b""
        self._code = BROKEN_OFF

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() == 200:
            self._streams = True
            self._give_answer()

    def on_body(self, part: bytes) -> None:
        if not self._streams:
            super().on_body(part)
            return
        *blocks, self._rest = (self._rest + part).split(b"\n\n")
        for block in blocks:
            if data := _data(block):
                message = json.loads(data)
                if isinstance(message, dict):
                    self._on_message(message)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._streams:
            self._code = COMPLETE
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._streams:
            self._on_end(self._code)


def _data(block: bytes) -> bytes:
    """The data of one event; none in a comment."""
    lines = (line.partition(b":") for line in block.split(b"\n"))
    return b"\n".join(value.strip() for name, _, value in lines if name == b"data")


async def open_stream(
    url: str,
    on_message: Callable[[Message], None],
    on_end: Callable[[int], None],
    headers: Mapping[str, str],
) -> tuple[Stream, Answer]:
    """The stream at `url`, and how the request for it was answered: it is one only after a 200.

    Raises `Broken`, or `OSError` where nobody listens.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise Broken(f"{url} is no stream's address")
    lines = [
        f"GET {parts.path or '/'} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept: text/event-stream",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(on_message, on_end),
        parts.hostname,
        parts.port or PORTS[parts.scheme],
        ssl=True if parts.scheme == "https" else None,
    )
    try:
        answer = await stream.ask("\r\n".join([*lines, "", ""]).encode())
    except BaseException:
        stream.close()
        raise
    return stream, answer
