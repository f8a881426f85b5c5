"""The same messages as server-sent events, for clients that have no WebSocket.

`GET /sse/pairings/<udid>/` with the device_code as bearer token. What a device wants to say it says
by the HTTP API: `renew/` and `ack/`.
"""

import asyncio
import random
import re
from math import ceil
from typing import Any

import accounts.problems  # noqa: F401
import pairing.problems  # noqa: F401
import realtime.problems  # noqa: F401
from accounts import principal
from pairing import device_code
from pairing.serializers import UDID
from ratelimit.connections import Connection, Full
from ratelimit.problem import CODES, CONTENT_TYPE, render
from realtime import arrival, protocol
from realtime.gateway import Gateway
from realtime.outbox import Outbox
from realtime.protocol import Bye, End, Message, Versioned
from realtime.socket import SOON_MS, Receive, Scope, Send
from realtime.wait import Wait

PREFIX = "/sse/pairings/"
_PATH = re.compile(rf"{PREFIX}({UDID[2:-2]})/")
#: A comment that keeps proxies from closing what is silent, and finds clients that have gone.
COMMENT = ":\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx would keep the events for itself.
    (b"x-accel-buffering", b"no"),
]


class Streams:
    """ASGI application for `/sse/pairings/<udid>/`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"])
        if path is None:
            await refuse(send, "not_found")
        elif scope["method"] != "GET":
            await refuse(send, "method_not_allowed")
        else:
            await self._open(path[1], scope, receive, send)

    async def _open(self, udid: str, scope: Scope, receive: Receive, send: Send) -> None:
        device = device_code.parse(principal.bearer(arrival.header(scope, b"authorization")))
        if device is None:
            await refuse(send, "invalid_device_code")
            return
        gateway = self._gateway
        if gateway.returns.draining:
            await refuse(send, End.DRAINING.code, gateway.returns.after_ms())
            return
        place = await gateway.connections.open_for(device.digest)
        if isinstance(place, Full):
            end = End.TOO_MANY_CONNECTIONS if place is Full.SET else End.AT_CAPACITY
            gateway.returns.record_refusal(end, arrival.network(scope))
            await refuse(send, end.code, gateway.returns.after_ms(end))
            return
        seen = arrival.header(scope, b"last-event-id")
        stream = Stream(gateway, place, scope, send)
        wait = Wait(
            stream,
            device,
            udid,
            resume=int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 10 else 0,
            context=arrival.context(scope),
        )
        await stream.run(wait, receive)


class Stream:
    """One open stream, from its first byte to its end."""

    __slots__ = ("_connection", "_ended", "_gateway", "_outbox", "_protocol", "_send", "_timer")

    def __init__(self, gateway: Gateway, connection: Connection, scope: Scope, send: Send) -> None:
        self._gateway = gateway
        self._connection = connection
        self._protocol = scope["stabilizer.wire"]
        self._send = send
        self._outbox = Outbox(self._send_text, self._protocol.abort)
        self._ended = False
        self._timer = self._comment_later(random.uniform(0.2, 1))  # noqa: S311 - jitter

    async def run(self, wait: Wait, receive: Receive) -> None:
        """Serve the stream until either side ends it."""
        gateway = self._gateway
        gateway.returns.wires.add(self)
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            gateway.join(wait)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._ended = True
            self._timer.cancel()
            self._outbox.close()
            gateway.returns.wires.discard(self)
            gateway.leave(wait)
            gateway.connections.close(self._connection)

    def tell(self, message: Message) -> None:
        self._outbox.put(event(message))

    def end(self, end: End, retry_after_ms: int | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        if end.comes_back and retry_after_ms is None:
            retry_after_ms = random.randint(*SOON_MS)  # noqa: S311 - jitter, no secret
        self._outbox.put(event(Bye(code=end.code, retry_after_ms=retry_after_ms)))
        asyncio.get_running_loop().create_task(self._part())

    async def _part(self) -> None:
        if await self._outbox.flush():
            await self._send({"type": "http.response.body"})

    async def _send_text(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    def _comment(self) -> None:
        self._outbox.put(COMMENT)
        self._timer = self._comment_later()

    def _comment_later(self, part: float = 1) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(protocol.PING_S * part, self._comment)


def event(message: Message) -> str:
    """A message as an event; a client that reconnects names the last state by its `id`."""
    lines = [f"event: {message.type}", f"data: {protocol.write(message)}"]
    if isinstance(message, Versioned):
        lines.append(f"id: {message.version}")
    if isinstance(message, Bye) and message.retry_after_ms is not None:
        lines.append(f"retry: {message.retry_after_ms}")
    return "\n".join(lines) + "\n\n"


async def refuse(send: Send, code: str, retry_after_ms: int = 0) -> None:
    """A problem document, as the HTTP API would answer."""
    problem = CODES[code]
    extension: dict[str, Any] = {}
    if retry_after_ms:
        extension["retry_after"] = ceil(retry_after_ms / 1000)
    body = render(problem, **extension)
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *((b"retry-after", b"%d" % seconds) for seconds in extension.values()),
    ]
    if problem.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="stabilizer"'))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
