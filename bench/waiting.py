"""Devices that wait on the gateway, thousands in one process: `python -m bench.waiting`.

Asked as `bench.dialogue` says. Each comes from a network of its own, and obeys what it is told:
after a `bye` that says when to return it is there at that moment, neither sooner nor later.
"""

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from bench import pairings
from bench.pairings import Line
from stabilizer.stampede import crowd
from stabilizer.stampede.connection import Broken
from stabilizer.stampede.websocket import Message, Socket, open_socket

#: After a connection that ended without a word, or was not made.
AGAIN_S = 1.0
LOOK_S = 0.02


class Device:
    """One waiting device, over as many connections as that takes."""

    __slots__ = (
        "_address",
        "_devices",
        "_due",
        "_line",
        "_socket",
        "_visit",
        "answered",
        "version",
    )

    def __init__(self, devices: "Devices", line: Line, number: int) -> None:
        self._devices = devices
        self._line = line
        self._address = f"10.{number >> 8 & 255}.{number & 255}.1"
        self._socket: Socket | None = None
        #: Counts its connections: what an earlier one does is of no interest any more.
        self._visit = 0
        #: When it was told to be back, if it was.
        self._due: float | None = None
        self.version = 0
        #: Set while the gateway has told it where it stands, over the connection that it has.
        self.answered = asyncio.Event()

    async def come(self) -> None:
        """Connect and say hello; what follows is told to `_hear`."""
        self._visit += 1
        visit, self._socket = self._visit, None
        hear, end = partial(self._hear, visit), partial(self._end, visit)
        headers = {"X-Forwarded-For": self._address}
        try:
            socket = await open_socket(self._devices.url, hear, end, headers)
        except (Broken, OSError) as error:
            self._break(visit, str(error) if isinstance(error, Broken) else "refused")
            return
        if visit != self._visit:
            socket.close()
            return
        self._socket = socket
        hello: Message = {"type": "hello", "udid": self._line.udid}
        hello["device_code"] = self._line.device_code
        if self.version:
            hello["resume"] = self.version
        socket.send(hello)

    def leave(self) -> None:
        """Hang up, as a set does that is switched off."""
        self._visit += 1
        self._due = None
        self.answered.clear()
        if self._socket is not None:
            self._socket.close()

    def _hear(self, visit: int, message: Message) -> None:
        if visit != self._visit:
            return
        kind = message["type"]
        if kind in ("pending", "approved"):
            now = time.monotonic()
            self.version = message["version"]
            if self._due is not None:
                self._devices.late_s.append(now - self._due)
                self._due = None
            if kind == "approved":
                self._devices.approved.setdefault(self._line.udid, now)
            self.answered.set()
        elif kind == "bye":
            self._obey(message)
        else:
            self._devices.others[f"{kind} {message.get('code')}"] += 1

    def _obey(self, bye: Message) -> None:
        self._devices.others[f"bye {bye['code']}"] += 1
        self.answered.clear()
        # Its end is expected now, and what comes next is another visit.
        self._visit += 1
        again_ms = bye.get("retry_after_ms")
        if again_ms is not None:
            self._devices.told += 1
            self._due = time.monotonic() + again_ms / 1000
            self._come_after(again_ms / 1000)

    def _end(self, visit: int, code: int) -> None:
        # Before the gateway agreed it is `come` that hears of it.
        if self._socket is not None and visit == self._visit:
            self._break(visit, f"closed {code}")

    def _break(self, visit: int, what: str) -> None:
        if visit == self._visit:
            self._devices.broken[what] += 1
            self.answered.clear()
            self._visit += 1
            self._come_after(AGAIN_S)

    def _come_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._come_if_still, self._visit)

    def _come_if_still(self, visit: int) -> None:
        if visit == self._visit:
            self._devices.begin(self)


class Devices:
    """All devices of this process, and what became of them."""

    def __init__(self, url: str, file: str, first: int, count: int) -> None:
        """`count` of the pairings in `file`, from `first` on, wait at `url`."""
        self.url = url
        self.approved: dict[str, float] = {}
        #: How often one was told when to return, and how long after that it was answered.
        self.told = 0
        self.late_s: list[float] = []
        #: Connections that were not made, or ended without a bye, by what happened.
        self.broken: Counter[str] = Counter()
        #: Messages that are neither `pending` nor `approved`.
        self.others: Counter[str] = Counter()
        lines = pairings.read(Path(file), first, count)
        self._devices = [Device(self, line, first + each) for each, line in enumerate(lines)]
        self._coming: set[asyncio.Task[None]] = set()

    def begin(self, device: Device) -> None:
        coming = asyncio.get_running_loop().create_task(device.come())
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    async def come(self, at_once: int, limit_s: float) -> dict[str, Any]:
        """Connect all, so many at once, and wait until each was answered."""
        room = asyncio.Semaphore(at_once)

        async def one(device: Device) -> None:
            async with room:
                await device.come()
                await device.answered.wait()

        began, cpu_began = time.monotonic(), time.process_time()
        coming = [asyncio.create_task(one(device)) for device in self._devices]
        _, late = await asyncio.wait(coming, timeout=limit_s)
        for task in late:
            task.cancel()
        took_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        return self._report() | {"began": began, "took_s": took_s, "cpu_s": cpu_s}

    async def leave(self) -> dict[str, Any]:
        """All hang up at once."""
        for device in self._devices:
            device.leave()
        return self._report()

    async def settle(self, limit_s: float, approved: int = 0) -> dict[str, Any]:
        """Wait until each is answered, and so many are approved; or for as long."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if self._waiting == len(self._devices) and len(self.approved) >= approved:
                break
            await asyncio.sleep(LOOK_S)
        return self._report() | {"approved": self.approved, "late_s": self.late_s}

    @property
    def _waiting(self) -> int:
        return sum(device.answered.is_set() for device in self._devices)

    def _report(self) -> dict[str, Any]:
        return {
            "waiting": self._waiting,
            "told": self.told,
            "broken": dict(self.broken),
            "others": dict(self.others),
            "at": time.monotonic(),
            "used_s": time.process_time(),
        }


async def main() -> None:
    # Thousands of devices live to the end: looking through them again finds nothing.
    gc.disable()
    crowd.allow_connections(0)
    devices: Devices | None = None
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        given = json.loads(line)
        act = given.pop("act")
        if act == "take":
            devices = Devices(**given)
            told: Any = None
        else:
            told = await getattr(devices, act)(**given)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
