"""Uvicorn's protocols for thousands of connections that mostly wait."""

import asyncio
import socket
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

#: Where a protocol lies in the scope of its connection, for whoever has to end it by force.
WIRE = "stabilizer.wire"
#: A connection that has not sent a whole request by then is closed.
HANDSHAKE_S = 5.0
#: What the kernel, and we, keep of what a client does not read.
KERNEL_BYTES = 32 * 1024
BUFFER_BYTES = 16 * 1024
#: For a client to answer our close frame, or to read it.
CLOSE_S = 2.0


class ImpatientProtocol(HttpToolsProtocol):
    """HTTP whose first request must come in `HANDSHAKE_S`: open sockets that say nothing cost."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        _keep_little(transport)
        self._handshake = self.loop.call_later(HANDSHAKE_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshake.cancel()
        super().connection_lost(exc)
        _forget(self.scope)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[WIRE] = self

    def on_message_complete(self) -> None:
        self._handshake.cancel()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._handshake.cancel()
        super().handle_websocket_upgrade()
        # The parser and the scope refer to this protocol: a circle for each connection otherwise.
        self.parser = self.scope = self.headers = None  # type: ignore[assignment]

    def abort(self) -> None:
        """Close at once, whatever was not sent."""
        self.transport.abort()


class WaitingProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that keeps little: small buffers, and no circles for the collector to find."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = CLOSE_S
        self.scope = cast(Any, None)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast(dict[str, Any], self.scope)[WIRE] = self

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames):
            # Uvicorn would log it, with a traceback, for everybody who sends it.
            self.frames = []
            self.conn.fail(1007)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # A generator that refers to its own object, and a scope that refers to this one.
        self.conn.parser.close()
        _forget(self.scope)

    def part(self, text: str, code: int, reason: str) -> None:
        """Write a last message and the close frame to a client that may not read them."""
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_text(text.encode())
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_timer = self.loop.call_later(CLOSE_S, self.abort)

    def abort(self) -> None:
        """Close at once, whatever was not sent."""
        self.transport.abort()


def _forget(scope: Any) -> None:
    """Break a circle: the collector comes too seldom here to find one for each connection."""
    if scope is not None:
        scope.pop(WIRE, None)


def _is_utf8(frames: list[bytes]) -> bool:
    try:
        b"".join(frames).decode()
    except UnicodeDecodeError:
        return False
    return True


def _keep_little(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
