"""The ways in which a device waits for its approval and collects its credentials."""

import time
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import urlsplit

from stabilizer.stampede.caller import ANSWER_S, Caller, Unserved, expect
from stabilizer.stampede.events import open_stream
from stabilizer.stampede.listening import Line, Listening
from stabilizer.stampede.tally import Step
from stabilizer.stampede.websocket import Message, Socket, open_socket

SCHEMES = {"ws": "http", "wss": "https"}
#: How the gateway closes a WebSocket after `bye` with code `finished`.
FINISHED = 4510


class Way(StrEnum):
    """What is given to ``--wait``."""

    WS = "ws"
    SSE = "sse"
    POLL = "poll"

    @property
    def connections(self) -> int:
        """How many a device has open at once."""
        return 1 if self is Way.POLL else 2


class Wait(Protocol):
    """One device's wait for one pairing. Each call raises `Unserved` when the device gives up."""

    async def begin(self) -> None:
        """Return when an approval would be noticed."""

    async def collect(self, approved_at: float) -> dict[str, Any]:
        """The document with the credentials of a pairing that was approved at `approved_at`."""

    async def acknowledge(self) -> None:
        """Say that the credentials are stored, and see that it was heard."""

    def close(self) -> None:
        """Leave, whether or not all was said."""


def by(way: Way, caller: Caller, udid: str, created: dict[str, Any]) -> Wait:
    """The wait of a device whose creation was answered by `created`."""
    device_code = created["device_code"]
    if way is Way.POLL:
        return Polling(caller, udid, device_code)
    parts = urlsplit(created.get("websocket_url", ""))
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise Unserved(f"{Step.WAITING}: the service has named no websocket_url")
    if not caller.target.allows(parts.hostname):
        raise Unserved(f"{Step.WAITING}: {parts.hostname} is not this machine: --allow-remote")
    if way is Way.WS:
        return OnSocket(caller, udid, device_code, parts.geturl())
    path = f"/sse/pairings/{udid}/"
    url = parts._replace(scheme=SCHEMES[parts.scheme], path=path, query="").geturl()
    return OnStream(caller, udid, device_code, url)


class Polling:
    """Asks how the pairing stands, and collects when it is approved."""

    def __init__(self, caller: Caller, udid: str, device_code: str) -> None:
        self._caller = caller
        self._path = f"/api/v1/pairings/{udid}/"
        self._device_code = device_code

    async def begin(self) -> None:
        """Whoever asks needs nothing before."""

    async def collect(self, approved_at: float) -> dict[str, Any]:
        caller, device_code = self._caller, self._device_code
        await caller.think()
        answer = await caller.ask(Step.STATUS, "GET", self._path, bearer=device_code)
        if expect(Step.STATUS, answer, 200).get("status") != "approved":
            raise Unserved(f"{Step.STATUS}: approved, but not told so")
        await caller.think()
        path = f"{self._path}credentials/"
        answer = await caller.ask(Step.CREDENTIALS, "POST", path, bearer=device_code)
        return expect(Step.CREDENTIALS, answer, 200)

    async def acknowledge(self) -> None:
        answer = await self._caller.ask(
            Step.ACK, "POST", f"{self._path}ack/", bearer=self._device_code
        )
        expect(Step.ACK, answer, 204)

    def close(self) -> None:
        """There is no connection but the caller's own."""


class OnStream(Listening):
    """Listens to server-sent events; what a device has to say it says by HTTP."""

    def __init__(self, caller: Caller, udid: str, device_code: str, url: str) -> None:
        super().__init__(caller, udid, device_code)
        self._url = url

    async def acknowledge(self) -> None:
        await Polling(self._caller, self._udid, self._device_code).acknowledge()

    async def _open(self, step: Step) -> Line | None:
        headers = {**self._caller.headers, "Authorization": f"Bearer {self._device_code}"}
        if self._version:
            headers["Last-Event-ID"] = str(self._version)
        self._said_at = time.monotonic()
        inbox = self._inbox
        opening = open_stream(self._url, inbox.take, inbox.end, headers)
        stream, answer = await self._reached(step, opening)
        if answer.status == 200:
            return stream
        stream.close()
        if not await self._caller.put_off(step, answer):
            expect(step, answer, 200)
        return None

    def _say_again(self) -> None:
        """A stream is only listened to."""


class OnSocket(Listening):
    """Listens to the gateway's WebSocket, and acknowledges on it."""

    def __init__(self, caller: Caller, udid: str, device_code: str, url: str) -> None:
        super().__init__(caller, udid, device_code)
        self._url = url
        self._socket: Socket | None = None
        self._has_credentials = False

    async def acknowledge(self) -> None:
        """Say `ack`, hear `bye` with code `finished`, and be hung up on with its close code."""
        self._has_credentials = True
        self._say_again()
        heard = await self._hear(Step.ACK, "bye finished")
        assert self._said_at is not None
        self._caller.tally.answered(Step.ACK, heard.at - self._said_at, heard.at)
        code = await self._inbox.code(min(ANSWER_S, self._caller.left_s(Step.ACK)))
        if code != FINISHED:
            raise Unserved(f"{Step.ACK}: closed with {code} after bye finished")

    async def _open(self, step: Step) -> Line | None:
        inbox = self._inbox
        opening = open_socket(self._url, inbox.take, inbox.end, self._caller.headers)
        self._socket = await self._reached(step, opening)
        self._said_at = time.monotonic()
        hello: Message = {"type": "hello", "udid": self._udid, "device_code": self._device_code}
        if self._version:
            hello["resume"] = self._version
        self._socket.send(hello)
        self._say_again()
        return self._socket

    def _say_again(self) -> None:
        if self._has_credentials and self._socket is not None:
            self._said_at = time.monotonic()
            self._socket.send({"type": "ack"})
