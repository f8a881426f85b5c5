"""A device that waits for news of its pairing, by whichever wire it came."""

from collections.abc import Callable
from typing import Protocol

from audit import clock
from audit.context import RequestContext
from pairing.device_code import DeviceCode
from realtime.protocol import End, Message


class Wire(Protocol):
    """How a waiting device is told something."""

    def tell(self, message: Message) -> None:
        """Send a message; never waits."""

    def end(self, end: End, retry_after_ms: int | None = None) -> None:
        """Say bye and close. Twice is once."""


class Wait:
    """What is known of one waiting device. `version` is that of the last state it was told."""

    __slots__ = ("answered", "context", "delivering", "device", "since", "udid", "version", "wire")

    def __init__(
        self,
        wire: Wire,
        device: DeviceCode,
        udid: str,
        *,
        resume: int = 0,
        context: RequestContext = RequestContext(),  # noqa: B008 - immutable
    ) -> None:
        self.wire = wire
        self.device = device
        self.udid = udid
        self.version = resume
        self.context = context
        self.since = clock.now()
        #: It has been told where it stands.
        self.answered = False
        #: Its credentials are being fetched.
        self.delivering = False

    @property
    def digest(self) -> str:
        return self.device.digest


Told = Callable[[Wait, Message], None]
