"""A client of the gate without a network: one ASGI request at a time, or many at once."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stabilizer.gate.arrival import ADMISSION, Admission

Headers = Mapping[str, str]


@dataclass
class Reply:
    """What came back; `status` 0 means that nothing did."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    #: What the gate left for the app.
    admission: Admission | None = None
    scope: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        values = [value for known, value in self.headers if known.lower() == name]
        return ", ".join(values)

    @property
    def problem(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class Connection:
    """One request; the client may leave (`leave`) at any time."""

    def __init__(self, messages: Iterable[dict[str, Any]]) -> None:
        self._messages = list(messages)
        self._left = asyncio.Event()
        self.reply = Reply()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.reply.status = message["status"]
            self.reply.headers = [
                (name.decode(), value.decode()) for name, value in message["headers"]
            ]
        else:
            self.reply.body += message.get("body", b"")


def scope_of(
    method: str, path: str, headers: Headers, peer: str | None = "127.0.0.1"
) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")]
        + [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": (peer, 4711) if peer is not None else None,
        "server": ("testserver", 80),
    }


class Door:
    """Knocks at an ASGI application."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def knock(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Headers | None = None,
        content: bytes = b"",
        data: Mapping[str, Any] | None = None,
        peer: str | None = "127.0.0.1",
        connection: Connection | None = None,
    ) -> Reply:
        given = dict(headers or {})
        if data is not None:
            content = json.dumps(data).encode()
            given.setdefault("content-type", "application/json")
        if content:
            given.setdefault("content-length", str(len(content)))
        scope = scope_of(method, path, given, peer)
        connection = connection or Connection([{"type": "http.request", "body": content}])
        await self.app(scope, connection.receive, connection.send)
        connection.reply.admission = scope.get(ADMISSION)
        connection.reply.scope = scope
        return connection.reply


async def create(
    door: Door, *, udid: str, headers: Headers | None = None, peer: str = "127.0.0.1"
) -> Reply:
    """A device asks for a code."""
    data = {"app_type": "tv", "udid": udid}
    return await door.knock("POST", "/api/v1/pairings/", data=data, headers=headers, peer=peer)
