"""HTTP/1.1 with little more than what the wire needs: thousands of connections in one process."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import httptools

from stabilizer.stampede.target import Target


class Broken(Exception):
    """The connection could not be made, or ended before the answer was complete."""


class Answer:
    """A complete answer."""

    __slots__ = ("_body", "request_id", "retry_after_s", "status")

    def __init__(
        self, status: int, retry_after_s: float | None, body: bytes, request_id: str = ""
    ) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        #: By which the trail knows the request.
        self.request_id = request_id
        self._body = body

    def json(self) -> dict[str, Any]:
        """The document in the body; empty if there is none."""
        try:
            document = json.loads(self._body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def request(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *,
    bearer: str = "",
    body: Mapping[str, Any] | None = None,
) -> bytes:
    """A request as it goes over the wire. `headers` have its `Host`."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if bearer:
        lines.append(f"Authorization: Bearer {bearer}")
    if content:
        lines.append("Content-Type: application/json")
    if method == "POST":
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join((*lines, "", "")).encode() + content


class Wire(asyncio.Protocol):
    """One open connection with at most one request under way."""

    def __init__(self) -> None:
        self.usable = True
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._retry_after_s: float | None = None
        self._request_id = ""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken("lost"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_begin(self) -> None:
        self._retry_after_s, self._body = None, b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self._retry_after_s = float(value)
        elif name.lower() == b"x-request-id":
            self._request_id = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.usable = False
        self._give_answer()

    async def ask(self, request: bytes) -> Answer:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.usable = False
        self._transport.abort()

    def _give_answer(self) -> None:
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            answer = Answer(status, self._retry_after_s, self._body, self._request_id)
            self._answer.set_result(answer)


class Connection:
    """A device's way to the service: opened when needed, kept from request to request."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._wire: Wire | None = None

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send `request`; raises `Broken`, or `TimeoutError` after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                if self._wire is None or not self._wire.usable:
                    self._wire = await self._open()
                return await self._wire.ask(request)
        except OSError as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise
            raise Broken("refused") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _open(self) -> Wire:
        self.close()
        target = self._target
        _, wire = await asyncio.get_running_loop().create_connection(
            Wire, target.host, target.port, ssl=True if target.secure else None
        )
        return wire
