"""How a device listens to the gateway: over one connection after the other, until it was told.

The messages are those of `realtime.protocol`, over whichever connection they come.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, NamedTuple, Protocol, TypeVar

from stabilizer.stampede.caller import ANSWER_S, Caller, Unserved
from stabilizer.stampede.connection import Broken
from stabilizer.stampede.tally import Step
from stabilizer.stampede.websocket import Message

T = TypeVar("T")


class Heard(NamedTuple):
    """A message, and when it arrived, which may be long before the device looks at it."""

    message: Message
    at: float

    @property
    def says(self) -> str:
        """Its type, with its code if it has one: "pending", "bye draining"."""
        return f"{self.message.get('type')} {self.message.get('code', '')}".rstrip()


class Line(Protocol):
    """An open connection, whose messages go where its opener said."""

    def close(self) -> None: ...


class Inbox:
    """What came over one connection, and at last the close code with which that ended."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[Heard | int] = asyncio.Queue()

    def take(self, message: Message) -> None:
        self._heard.put_nowait(Heard(message, time.monotonic()))

    def end(self, code: int) -> None:
        self._heard.put_nowait(code)

    async def next(self) -> Heard:
        """The next message; raises `Broken` when the connection ended without another one."""
        heard = await self._heard.get()
        if isinstance(heard, int):
            raise Broken("lost" if heard == 1006 else f"closed {heard}")
        return heard

    async def code(self, limit_s: float) -> int | None:
        """The close code; None if the connection stays open so long."""
        try:
            async with asyncio.timeout(limit_s):
                while not isinstance(heard := await self._heard.get(), int):
                    pass
        except TimeoutError:
            return None
        return heard


class Listening(ABC):
    """Waits on a connection that it opens again, naming the version it knows, whenever it ends.

    A `bye` that says when to return is obeyed: nothing is opened before. An `error` that says so
    leaves the connection open: what the device has said it says again then; what the gateway wanted
    to tell, it tries again by itself.
    """

    def __init__(self, caller: Caller, udid: str, device_code: str) -> None:
        self._caller = caller
        self._udid = udid
        self._device_code = device_code
        self._version = 0
        self._line: Line | None = None
        self._inbox = Inbox()
        #: When the device said what the gateway has not answered yet.
        self._said_at: float | None = None

    async def begin(self) -> None:
        """Return when the gateway has said that nobody has approved the pairing yet."""
        await self._hear(Step.WAITING, "pending")

    async def collect(self, approved_at: float) -> dict[str, Any]:
        """The `approved` message, once it was pushed.

        The push counts from `approved_at`, when the approval was answered; it may come before that,
        and then took no time.
        """
        heard = await self._hear(Step.PUSHED, "approved")
        self._caller.tally.answered(Step.PUSHED, max(0.0, heard.at - approved_at), heard.at)
        return heard.message

    @abstractmethod
    async def acknowledge(self) -> None:
        """Say that the credentials are stored, and see that it was heard."""

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    @abstractmethod
    async def _open(self, step: Step) -> Line | None:
        """Open a connection that fills the inbox; None after a refusal that was waited out."""

    @abstractmethod
    def _say_again(self) -> None:
        """Say what the gateway has asked to be said later."""

    async def _hear(self, step: Step, wanted: str) -> Heard:
        """What says `wanted`, over as many connections as that takes."""
        while True:
            began = time.monotonic()
            try:
                if self._line is None:
                    self._inbox = Inbox()
                    self._line = await self._open(step)
                    continue
                heard = await self._next(step)
            except (Broken, TimeoutError) as error:
                self.close()
                await self._caller.broke(step, error, began)
                continue
            self._note(step, heard)
            if heard.says == wanted:
                return heard
            await self._react(step, heard)

    async def _reached(self, step: Step, opening: Awaitable[T]) -> T:
        """What `opening` comes to, within the time of a try."""
        try:
            async with asyncio.timeout(min(ANSWER_S, self._caller.left_s(step))):
                return await opening
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken("refused") from error

    async def _next(self, step: Step) -> Heard:
        """The next message. An answer is waited for as long as in every try, a push to the end."""
        left_s = self._caller.left_s(step)
        is_owed = self._said_at is not None
        try:
            async with asyncio.timeout(min(ANSWER_S, left_s) if is_owed else left_s):
                return await self._inbox.next()
        except TimeoutError:
            if is_owed:
                raise
            raise Unserved(f"{step}: late") from None

    def _note(self, step: Step, heard: Heard) -> None:
        self._version = max(self._version, heard.message.get("version", 0))
        if self._said_at is None or "version" not in heard.message:
            return
        if heard.says == "pending":
            self._caller.tally.answered(Step.WAITING, heard.at - self._said_at, heard.at)
        if step is not Step.ACK:
            self._said_at = None

    async def _react(self, step: Step, heard: Heard) -> None:
        if heard.says == "pending" or (heard.says == "approved" and step is Step.ACK):
            return
        again_ms = heard.message.get("retry_after_ms")
        if again_ms is None:
            raise Unserved(f"{step}: {heard.says}")
        self._caller.tally.put_off[heard.says] += 1
        again_s = heard.at + again_ms / 1000 - time.monotonic()
        if heard.message.get("type") == "bye":
            self.close()
            await self._caller.pause(step, again_s)
        elif step is Step.ACK:
            await self._caller.pause(step, again_s)
            self._say_again()
