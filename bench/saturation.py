"""A closed loop of requests, in a process of its own: `python -m bench.saturation`.

Each client sends its next request when the last one was answered, over one connection, so a server
is loaded as far as it can go. This process does nothing but that, to be never what is measured.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import cast

import httptools
import uvloop

from bench.place import Place
from dev import ports

#: Whoever has no answer this long after the end gets none.
STUCK_S = 10.0


@dataclass(frozen=True)
class Load:
    """What the clients saw."""

    answers: dict[str, int]
    #: Connections that could not be made, or broke, or had no answer at the end.
    errors: int
    took_s: float
    p95_s: float
    #: Of one processor, what the load itself took.
    cpu_share: float

    def answered(self, status: int) -> int:
        return self.answers.get(str(status), 0)

    def per_second(self, status: int) -> float:
        return self.answered(status) / self.took_s


def load(
    place: Place, port: int, requests: Sequence[bytes], *, clients: int, load_s: float
) -> Load:
    """Have `clients` send `requests`, in turn and over again, for `load_s` seconds."""
    words = [request.decode("latin-1") for request in requests]
    given = {"port": port, "requests": words, "clients": clients, "load_s": load_s}
    return Load(**place.told(__name__, given))


def main() -> None:
    given = json.load(sys.stdin)
    given["requests"] = [word.encode("latin-1") for word in given["requests"]]
    json.dump(asdict(uvloop.run(_load(**given))), sys.stdout)


async def _load(port: int, requests: list[bytes], clients: int, load_s: float) -> Load:
    closed_loop = ClosedLoop(port, itertools.cycle(requests), load_s)
    cpu_s = sum(os.times()[:2])
    started = time.perf_counter()
    await asyncio.gather(*(closed_loop.client() for _ in range(clients)))
    took_s = time.perf_counter() - started
    waits_s = closed_loop.waits_s
    return Load(
        {str(status): count for status, count in closed_loop.answers.items()},
        closed_loop.errors,
        took_s,
        quantiles(waits_s, n=20)[-1] if len(waits_s) > 1 else 0.0,
        (sum(os.times()[:2]) - cpu_s) / took_s,
    )


class ClosedLoop:
    """All clients of a run, and what became of them."""

    def __init__(self, port: int, requests: Iterator[bytes], load_s: float) -> None:
        self.requests = requests
        self.answers: Counter[int] = Counter()
        self.waits_s = array("d")
        self.errors = 0
        self.ends_at = time.perf_counter() + load_s
        self._port = port

    async def client(self) -> None:
        """Ask until the end, over a new connection where one broke; at least once."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self.ends_at + STUCK_S - time.perf_counter()):
                    _, connection = await loop.create_connection(
                        lambda: Connection(self), ports.LOOPBACK, self._port
                    )
                    await connection.ended
            except OSError:
                self.errors += 1
            if time.perf_counter() >= self.ends_at:
                return


class Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, closed_loop: ClosedLoop) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed_loop = closed_loop
        self._parser = httptools.HttpResponseParser(self)
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        closed_loop, now = self._closed_loop, time.perf_counter()
        closed_loop.answers[self._parser.get_status_code()] += 1
        closed_loop.waits_s.append(now - self._asked_at)
        if now < closed_loop.ends_at and self._parser.should_keep_alive():
            self._ask()
        else:
            if not self.ended.done():
                self.ended.set_result(None)
            self._transport.close()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(next(self._closed_loop.requests))


if __name__ == "__main__":
    main()
