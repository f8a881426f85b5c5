"""Clients who ask for pairings while something breaks, and note what each was told and when."""

import asyncio
import math
import random
import statistics
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import NamedTuple

from dev import ports
from dev.chaos.stack import Stack
from stabilizer.stampede import connection
from stabilizer.stampede.connection import Answer, Broken, Connection
from stabilizer.stampede.target import Target

CLIENTS = 24
#: Between two calls of a client; together they ask some eighty times a second.
PAUSE_S = (0.15, 0.45)
ANSWER_S = 20.0
PAIRINGS = "/api/v1/pairings/"


class Heard(NamedTuple):
    """One answer: who asked, when, and what it was. A lost connection has the status 0."""

    udid: str
    asked: float
    at: float
    status: int
    code: str

    @property
    def took_s(self) -> float:
        return self.at - self.asked


class Crowd:
    """Half of the calls are of new devices, half of those in `regulars`, again and again.

    It runs in a thread of its own, so that the test may break things meanwhile.
    """

    def __init__(self, stack: Stack, name: str) -> None:
        self.heard: list[Heard] = []
        #: Of the new devices, the device_code of each.
        self.codes: dict[str, str] = {}
        self.regulars: Sequence[str] = ()
        self._name = name
        self._target = target(stack)
        self._numbers = count(1)
        self._stopped = threading.Event()

    def run(self) -> None:
        asyncio.run(self._run())

    def stop(self) -> None:
        self._stopped.set()

    def admitted(self, udids: Sequence[str]) -> Counter[str]:
        """How often each of them got what it had asked for."""
        heard = [each for each in tuple(self.heard) if each.udid in udids]
        return Counter(each.udid for each in heard if each.status == 201)

    def newcomers(self, since: float, until: float) -> list[Heard]:
        """What new devices were told that asked in this time."""
        return [
            each
            for each in tuple(self.heard)
            if since <= each.asked < until and each.udid.startswith(self._name)
        ]

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        connection = Connection(self._target)
        try:
            while not self._stopped.is_set():
                await asyncio.sleep(random.uniform(*PAUSE_S))
                if self.regulars:
                    await self._create(connection, random.choice(self.regulars))
                await asyncio.sleep(random.uniform(*PAUSE_S))
                await self._create(connection, f"{self._name}-device-{next(self._numbers):06d}")
        finally:
            connection.close()

    async def _create(self, connection: Connection, udid: str) -> None:
        about = {"app_type": "crowd", "udid": udid, "model": "Crowd"}
        asked = monotonic()
        try:
            answer = await connection.ask(request(self._target, udid, PAIRINGS, about), ANSWER_S)
        except (Broken, TimeoutError):
            answer = Answer(0, None, b"")
        told = answer.json()
        if answer.status == 201 and udid not in self.regulars:
            self.codes[udid] = told["device_code"]
        self.heard.append(Heard(udid, asked, monotonic(), answer.status, told.get("code", "")))


def target(stack: Stack) -> Target:
    return Target(ports.LOOPBACK, stack.port, secure=False, api_key=stack.api_key)


def request(
    to: Target, udid: str, path: str, body: Mapping[str, object] | None = None, bearer: str = ""
) -> bytes:
    """A POST of the device `udid`, which has a network of its own."""
    headers = {"Host": to.authority, "X-Forwarded-For": _address(udid)}
    return connection.request("POST", path, headers, bearer=bearer, body=body)


def _address(udid: str) -> str:
    chance = random.Random(udid)
    return f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


@contextmanager
def crowd(stack: Stack, name: str) -> Iterator[Crowd]:
    """A crowd that asks as long as the block lasts."""
    asking = Crowd(stack, name)
    thread = threading.Thread(target=asking.run)
    thread.start()
    try:
        yield asking
    finally:
        asking.stop()
        thread.join()


def p99(heard: Sequence[Heard], window_s: float = 1.0) -> float:
    """The median of the p99s of all windows: one hiccup of the machine does not move it."""
    first = min(each.asked for each in heard)
    windows: dict[int, list[float]] = {}
    for each in heard:
        windows.setdefault(int((each.asked - first) / window_s), []).append(each.took_s)
    return statistics.median(
        sorted(times)[math.ceil(0.99 * len(times)) - 1] for times in windows.values()
    )
