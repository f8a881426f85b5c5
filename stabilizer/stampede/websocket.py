"""WebSocket clients (RFC 6455) with little more than what the wire needs: thousands in one process.

What the gateway sends is small, whole and not compressed, so a frame is a message here.
"""

import asyncio
import base64
import json
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from stabilizer.stampede.connection import Broken

SUBPROTOCOL = "stabilizer.pairing.v1"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_SECURE = {"ws": False, "wss": True}
_PORTS = {"ws": 80, "wss": 443}

Message = dict[str, Any]


class Socket(asyncio.Protocol):
    """One WebSocket. `on_message` is called with each message, `on_end` once with the close code.

    The close code is 1006 where the connection ended without one. `pong`s are sent by themselves.
    """

    __slots__ = ("_buffer", "_code", "_transport", "on_end", "on_message", "opened")

    def __init__(
        self, on_message: Callable[[Message], None], on_end: Callable[[int], None]
    ) -> None:
        self.on_message = on_message
        self.on_end = on_end
        #: The server has agreed to speak WebSocket.
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._code = 1006

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(Broken("lost"))
        self.on_end(self._code)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            if not self.opened.done() and not self._read_head():
                return
            while (frame := self._read_frame()) is not None:
                self._take(*frame)
        except ValueError:
            # What came is no WebSocket's, or no message's.
            self.close()

    def send(self, message: Message) -> None:
        self._write(TEXT, json.dumps(message, separators=(",", ":")).encode())

    def send_bytes(self, data: bytes) -> None:
        """Write `data` as it is, whether it is a frame or not; nothing after the end."""
        # uvloop's transports raise when they are written to after that.
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._transport.abort()

    def _read_head(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        status = head[9:12].decode("latin-1") if head.startswith(b"HTTP/1.1 ") else ""
        if status != "101":
            self.opened.set_exception(Broken(f"answered {status}" if status else "lost"))
            self.close()
            return False
        self._buffer = rest
        self.opened.set_result(None)
        return True

    def _read_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        begins, length = 2, buffer[1]
        if length == 126:
            begins = 4
            if len(buffer) < begins:
                return None
            (length,) = struct.unpack_from("!H", buffer, 2)
        elif length == 127:
            raise ValueError("longer than any message")
        if len(buffer) < begins + length:
            return None
        self._buffer = buffer[begins + length :]
        return buffer[0] & 15, buffer[begins : begins + length]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            message = json.loads(payload)
            if not isinstance(message, dict):
                raise ValueError("no message")
            if message.get("type") == "ping":
                self.send({"type": "pong"})
            else:
                self.on_message(message)
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2]) if payload else 1005
            self._write(CLOSE, payload[:2])
            self._transport.close()
        elif opcode == PING:
            self._write(PONG, payload)

    def _write(self, opcode: int, payload: bytes) -> None:
        self.send_bytes(frame(opcode, payload))


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's whole frame, masked as RFC 6455, 5.3 wants it."""
    size = len(payload)
    length = bytes((128 | size,)) if size < 126 else struct.pack("!BH", 128 | 126, size)
    mask = os.urandom(4)
    key = int.from_bytes(mask * (size // 4 + 1))
    masked = int.from_bytes(payload + bytes(-size % 4 or 4)) ^ key
    return bytes((128 | opcode,)) + length + mask + masked.to_bytes(4 * (size // 4 + 1))[:size]


def place(url: str) -> SplitResult:
    """A ws:// or wss:// URL in its parts; raises `Broken` for any other."""
    parts = urlsplit(url)
    if parts.scheme not in _SECURE or not parts.hostname:
        raise Broken(f"{url} is no WebSocket's address")
    return parts


async def open_socket(
    url: str,
    on_message: Callable[[Message], None],
    on_end: Callable[[int], None],
    headers: Mapping[str, str],
) -> Socket:
    """A WebSocket to `url` that is open. Raises `Broken`, or `OSError` where nobody listens."""
    parts = place(url)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {parts.path or '/'} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(
        lambda: Socket(on_message, on_end),
        parts.hostname or "",
        parts.port or _PORTS[parts.scheme],
        ssl=_SECURE[parts.scheme] or None,
    )
    socket.send_bytes("\r\n".join([*lines, "", ""]).encode())
    try:
        await socket.opened
    except BaseException:
        socket.close()
        raise
    return socket
