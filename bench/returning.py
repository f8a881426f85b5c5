"""A crowd that comes in one second and returns as it is told: `python -m bench.returning`.

Each asks over one connection until it is served: a client that is refused waits for as long as
Retry-After says, and asks again.
"""

import asyncio
import json
import math
import os
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import cast

import httptools
import uvloop

from bench.place import Place
from dev import ports

RUSH_S = 1.0
#: After so long nobody waits any more.
STUCK_S = 120.0


@dataclass(frozen=True)
class Crowd:
    """What the crowd did and found, by whole seconds of the gate's clock, from the first on."""

    served: list[int]
    #: Requests, first ones and those of who returned; and the latter alone.
    asked: list[int]
    returned: list[int]
    unserved: int
    errors: int
    #: Until all were served, or the end.
    took_s: float
    cpu_share: float


def come(place: Place, port: int, request: str, *, clients: int) -> Crowd:
    """Let so many come within `RUSH_S`, and return when told until all are served."""
    given = {"port": port, "request": request, "clients": clients}
    return Crowd(**place.told(__name__, given))


def main() -> None:
    given = json.load(sys.stdin)
    json.dump(asdict(uvloop.run(_come(**given))), sys.stdout)


async def _come(port: int, request: str, clients: int) -> Crowd:
    chance = random.Random(1)
    rush = Rush(port, request.encode("latin-1"))
    cpu_s = sum(os.times()[:2])
    visits = [rush.visit(chance.uniform(0, RUSH_S)) for _ in range(clients)]
    await asyncio.gather(*visits)
    took_s = rush.now
    cpu_share = (sum(os.times()[:2]) - cpu_s) / took_s
    seconds = range(int(took_s) + 1)
    served, asked, returned = (
        [counts[second] for second in seconds]
        for counts in (rush.served, rush.asked, rush.returned)
    )
    return Crowd(served, asked, returned, clients - sum(served), rush.errors, took_s, cpu_share)


class Rush:
    """All clients, and what they found."""

    def __init__(self, port: int, request: bytes) -> None:
        self.served: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.returned: Counter[int] = Counter()
        self.errors = 0
        self._port = port
        self._request = request
        # The gate's clock, and its seconds: it is for one of those that somebody is told to return.
        self._began = math.floor(time.monotonic())

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    async def visit(self, comes_s: float) -> None:
        """One client, from its first request until it is served."""
        await asyncio.sleep(comes_s)
        try:
            async with asyncio.timeout(STUCK_S - self.now):
                await self._until_served()
        except (OSError, TimeoutError):
            self.errors += 1

    async def _until_served(self) -> None:
        client = await self._connect()
        while True:
            try:
                wait_s = await self._ask(client)
            except ConnectionResetError:
                # It was idle for as long as the server keeps a connection, and ended just now.
                client = await self._connect()
                wait_s = await self._ask(client)
            if not wait_s:
                return
            await asyncio.sleep(wait_s)
            self.returned[int(self.now)] += 1
            if client.is_closed:
                client = await self._connect()

    async def _connect(self) -> "Client":
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(Client, ports.LOOPBACK, self._port)
        return client

    async def _ask(self, client: "Client") -> float:
        """The seconds after which to return, 0 once it is served."""
        came_s = int(self.now)
        status, retry_after_s = await client.ask(self._request)
        self.asked[came_s] += 1
        if status == 200:
            self.served[int(self.now)] += 1
            return 0
        return retry_after_s or 1


class Client(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, float]] | None = None
        self._retry_after_s = 0.0
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._retry_after_s = float(value)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._retry_after_s))

    async def ask(self, request: bytes) -> tuple[int, float]:
        """Status and Retry-After of the answer; raises `ConnectionResetError`."""
        self._answer = asyncio.get_running_loop().create_future()
        self._retry_after_s = 0.0
        self._transport.write(request)
        return await self._answer


if __name__ == "__main__":
    main()
