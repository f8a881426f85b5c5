"""A device of the tests at a real gateway: one WebSocket, one message after the other."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from realtime.protocol import SUBPROTOCOL
from tests.pairing.conftest import Device


class Socket:
    """What a device says and hears; a `ping` is answered unless `mute`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.mute = False

    def say(self, type_: str, **members: Any) -> None:
        self.send(json.dumps({"type": type_, **members}))

    def send(self, frame: str | bytes) -> None:
        self.connection.send(frame)

    def hello(self, device: Device, **members: Any) -> dict[str, Any]:
        """Say hello; the first answer."""
        self.say("hello", udid=device.udid, device_code=device.bearer, **members)
        return self.hear()

    def hear(self, timeout_s: float = 5) -> dict[str, Any]:
        """The next message that is no ping."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            message: dict[str, Any] = json.loads(self.connection.recv(left_s))
            if message["type"] != "ping":
                return message
            if not self.mute:
                self.say("pong")

    def hear_nothing(self, for_s: float) -> None:
        try:
            heard = self.hear(for_s)
        except TimeoutError:
            return
        raise AssertionError(heard)

    def end(self, timeout_s: float = 5) -> tuple[dict[str, Any], int]:
        """The bye and the close code that come next."""
        bye = self.hear(timeout_s)
        assert bye["type"] == "bye", bye
        return bye, self.closed(timeout_s)

    def closed(self, timeout_s: float = 5) -> int:
        """The close code, after whatever else is said."""
        with pytest.raises(ConnectionClosed) as closed:
            self._hear_all(timeout_s)
        frame = closed.value.rcvd
        assert frame is not None
        return frame.code

    def _hear_all(self, timeout_s: float) -> None:
        while True:
            self.hear(timeout_s)


@contextmanager
def socket_to(port: int, address: str = "203.0.113.9", **options: Any) -> Iterator[Socket]:
    with connect(
        f"ws://127.0.0.1:{port}/ws/pairings/",
        subprotocols=[options.pop("subprotocol", SUBPROTOCOL)],
        additional_headers={"X-Forwarded-For": address},
        proxy=None,
        ping_interval=None,
        **options,
    ) as connection:
        yield Socket(connection)
