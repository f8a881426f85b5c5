"""An open loop of requests, in a process of its own: `python -m bench.arrivals`.

Clients arrive when they arrive and wait for nobody's answer, as people with a remote control do: a
closed loop would slow down together with the server and never show it overloaded. Each waits for
its answer until its deadline, then hangs up.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import cast

import httptools
import uvloop

from bench.place import Place
from dev import ports

#: Arrivals before the measured ones, seconds: the queue of an overloaded server fills meanwhile.
LEAD_S = 1.0
#: Stands for the status of no answer.
UNANSWERED = 0


@dataclass(frozen=True)
class Outcome:
    """What became of those who arrived in the measured time."""

    arrived: int
    #: By status; 0 stands for those who hung up at their deadline, or lost their connection.
    answers: dict[str, int]
    #: Answers 200 within the deadline, per second.
    goodput: float
    #: Of one processor, what the load itself took; and by how much it was late at worst.
    cpu_share: float
    lag_s: float


def offer(
    place: Place, port: int, request: bytes, *, rate: float, load_s: float, deadline_s: float
) -> Outcome:
    """Let clients arrive at `rate` a second (Poisson) for `load_s`, after a lead of `LEAD_S`."""
    given = {"port": port, "request": request.decode("latin-1"), "rate": rate}
    return Outcome(**place.told(__name__, given | {"load_s": load_s, "deadline_s": deadline_s}))


def main() -> None:
    given = json.load(sys.stdin)
    given["request"] = given["request"].encode("latin-1")
    json.dump(asdict(uvloop.run(_offer(**given))), sys.stdout)


async def _offer(
    port: int, request: bytes, rate: float, load_s: float, deadline_s: float
) -> Outcome:
    open_loop = OpenLoop(port, request, deadline_s)
    cpu_s = sum(os.times()[:2])
    lag_s = 0.0
    started = time.perf_counter()
    for due_s in moments(rate, LEAD_S + load_s):
        early_s = started + due_s - time.perf_counter()
        if early_s > 0:
            await asyncio.sleep(early_s)
        lag_s = max(lag_s, -early_s)
        open_loop.arrive(measured=due_s >= LEAD_S)
    await open_loop.empty()
    took_s = time.perf_counter() - started
    return Outcome(
        open_loop.answers.total(),
        {str(status): count for status, count in sorted(open_loop.answers.items())},
        open_loop.answers[200] / load_s,
        (sum(os.times()[:2]) - cpu_s) / took_s,
        lag_s,
    )


def moments(rate: float, duration_s: float) -> Iterator[float]:
    """When clients arrive: a Poisson process, the same one in every run."""
    chance = random.Random(1)
    now_s = chance.expovariate(rate)
    while now_s < duration_s:
        yield now_s
        now_s += chance.expovariate(rate)


class OpenLoop:
    """Clients that come when they are told to, and the connections that the last ones have left."""

    def __init__(self, port: int, request: bytes, deadline_s: float) -> None:
        self.request = request
        self.deadline_s = deadline_s
        self.answers: Counter[int] = Counter()
        self.idle: list[Connection] = []
        self.present: set[asyncio.Task[None]] = set()
        self._port = port

    def arrive(self, *, measured: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._visit(measured))
        self.present.add(task)
        task.add_done_callback(self.present.discard)

    async def empty(self) -> None:
        """Until everybody has an answer, or has left."""
        while self.present:
            await asyncio.wait(self.present)
        for connection in self.idle:
            connection.close()

    async def _visit(self, measured: bool) -> None:
        status = UNANSWERED
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.deadline_s):
                connection = self.idle.pop() if self.idle else await self._open()
                status = await connection.ask(self.request)
        except OSError:
            pass
        if connection is not None:
            if status and connection.usable:
                self.idle.append(connection)
            else:
                connection.close()
        if measured:
            self.answers[status] += 1

    async def _open(self) -> "Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, ports.LOOPBACK, self._port)
        return connection


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self.usable = True
        self._parser = httptools.HttpResponseParser(self)
        self._status: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._status is not None and not self._status.done():
            self._status.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.usable = self._parser.should_keep_alive()
        if self._status is not None and not self._status.done():
            self._status.set_result(self._parser.get_status_code())

    async def ask(self, request: bytes) -> int:
        """The status of the answer; raises `ConnectionResetError`."""
        if not self.usable:
            raise ConnectionResetError
        self._status = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._status

    def close(self) -> None:
        self._transport.abort()


if __name__ == "__main__":
    main()
