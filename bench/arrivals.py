"""An open loop of requests, in a process of its own: `python -m bench.arrivals`.

Clients arrive when they arrive and wait for nobody's answer, as people with a remote control do: a
closed loop would slow down together with the server and never show it overloaded. Each waits for
its answer until its deadline, then hangs up.
"""

import asyncio
import heapq
import json
import os
import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from statistics import quantiles
from typing import cast

import httptools
import uvloop

from bench.place import Place
from dev import ports

#: Arrivals before the measured ones, seconds: the queue of an overloaded server fills meanwhile.
LEAD_S = 1.0
#: Stands for the status of no answer.
UNANSWERED = 0
SERVED = frozenset({200, 201, 204})


@dataclass(frozen=True)
class Stream:
    """Clients of one sort: what they ask, one request after the other, and how many come a second.

    When each has been asked, the first one's turn comes again.
    """

    name: str
    requests: Sequence[str]
    rate: float
    #: So long after the beginning the first may come.
    late_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of those of one stream who arrived in the measured time."""

    arrived: int
    #: By status; 0 stands for those who hung up at their deadline, or lost their connection.
    answers: dict[str, int]
    #: Successful answers within the deadline, per second; how long half, and 95 %, of them took.
    goodput: float
    p50_s: float
    p95_s: float

    @property
    def success(self) -> float:
        """The share that was served within the deadline."""
        served = sum(self.answers.get(str(status), 0) for status in SERVED)
        return served / self.arrived if self.arrived else 1.0


@dataclass(frozen=True)
class Offered:
    """A run: the outcome of each stream by its name."""

    outcomes: dict[str, Outcome]
    #: Of one processor, what the load itself took; and by how much it was late at worst.
    cpu_share: float
    lag_s: float


def offer(
    place: Place,
    port: int,
    streams: Sequence[Stream],
    *,
    load_s: float,
    deadline_s: float,
    lead_s: float = LEAD_S,
) -> Offered:
    """Let the clients of all streams arrive (Poisson) for `load_s`, after `lead_s` uncounted."""
    words = [asdict(stream) for stream in streams]
    times = {"load_s": load_s, "deadline_s": deadline_s, "lead_s": lead_s}
    told = place.told(__name__, {"port": port, "streams": words, **times})
    outcomes = {name: Outcome(**each) for name, each in told.pop("outcomes").items()}
    return Offered(outcomes=outcomes, **told)


def main() -> None:
    given = json.load(sys.stdin)
    given["streams"] = [Stream(**words) for words in given["streams"]]
    json.dump(asdict(uvloop.run(_offer(**given))), sys.stdout)


async def _offer(
    port: int, streams: Sequence[Stream], load_s: float, deadline_s: float, lead_s: float
) -> Offered:
    open_loop = OpenLoop(port, deadline_s)
    requests = [
        cycle([request.encode("latin-1") for request in stream.requests]) for stream in streams
    ]
    tallies = [Tally() for _ in streams]
    cpu_s = sum(os.times()[:2])
    lag_s = 0.0
    started = time.perf_counter()
    for due_s, number in visits(streams, lead_s + load_s):
        early_s = started + due_s - time.perf_counter()
        if early_s > 0:
            await asyncio.sleep(early_s)
        lag_s = max(lag_s, -early_s)
        open_loop.arrive(next(requests[number]), tallies[number] if due_s >= lead_s else None)
    await open_loop.empty()
    took_s = time.perf_counter() - started
    outcomes = {
        stream.name: tally.outcome(load_s) for stream, tally in zip(streams, tallies, strict=True)
    }
    return Offered(outcomes, (sum(os.times()[:2]) - cpu_s) / took_s, lag_s)


def visits(streams: Sequence[Stream], duration_s: float) -> Iterator[tuple[float, int]]:
    """When somebody comes, in order, and of which stream."""
    return heapq.merge(
        *(
            [
                (due_s, number)
                for due_s in moments(stream.rate, duration_s, seed=number + 1)
                if due_s >= stream.late_s
            ]
            for number, stream in enumerate(streams)
        )
    )


def moments(rate: float, duration_s: float, seed: int = 1) -> Iterator[float]:
    """When clients arrive: a Poisson process, the same one in every run."""
    chance = random.Random(seed)
    now_s = chance.expovariate(rate)
    while now_s < duration_s:
        yield now_s
        now_s += chance.expovariate(rate)


class Tally:
    """The answers of one stream."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self.waits_s = array("d")

    def count(self, status: int, wait_s: float) -> None:
        self.answers[status] += 1
        if status in SERVED:
            self.waits_s.append(wait_s)

    def outcome(self, load_s: float) -> Outcome:
        waits_s = self.waits_s
        cuts = quantiles(waits_s, n=20) if len(waits_s) > 1 else [0.0] * 19
        answers = {str(status): count for status, count in sorted(self.answers.items())}
        goodput = sum(self.answers[status] for status in SERVED) / load_s
        return Outcome(self.answers.total(), answers, goodput, cuts[9], cuts[-1])


class OpenLoop:
    """Clients that come when they are told to, and the connections that the last ones have left."""

    def __init__(self, port: int, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.idle: list[Connection] = []
        self.present: set[asyncio.Task[None]] = set()
        self._port = port

    def arrive(self, request: bytes, tally: Tally | None = None) -> None:
        """One more client; what becomes of it is counted in `tally`."""
        task = asyncio.get_running_loop().create_task(self._visit(request, tally))
        self.present.add(task)
        task.add_done_callback(self.present.discard)

    async def empty(self) -> None:
        """Until everybody has an answer, or has left."""
        while self.present:
            await asyncio.wait(self.present)
        for connection in self.idle:
            connection.close()

    async def _visit(self, request: bytes, tally: Tally | None) -> None:
        status, came_at = UNANSWERED, time.perf_counter()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.deadline_s):
                connection = self._left() or await self._open()
                status = await connection.ask(request)
        except OSError:
            pass
        if connection is not None:
            if status and connection.usable:
                self.idle.append(connection)
            else:
                connection.close()
        if tally is not None:
            tally.count(status, time.perf_counter() - came_at)

    def _left(self) -> "Connection | None":
        """A connection that the last ones have left, unless the server has closed it since."""
        while self.idle:
            connection = self.idle.pop()
            if connection.usable:
                return connection
        return None

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
