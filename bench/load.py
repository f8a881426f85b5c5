"""A load of GET requests over keep-alive connections, as fast as the answers come."""

import asyncio
import time
from dataclasses import dataclass, field
from statistics import quantiles

TIMEOUT_S = 30.0


@dataclass
class Load:
    """What the clients saw. Times in seconds."""

    took_s: float = 0.0
    answers_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    errors: int = 0

    @property
    def per_second(self) -> float:
        return self.statuses.get(200, 0) / self.took_s if self.took_s else 0.0

    @property
    def served_percent(self) -> float:
        sent = sum(self.statuses.values()) + self.errors
        return 100 * self.statuses.get(200, 0) / sent if sent else 0.0

    @property
    def p95_s(self) -> float:
        return quantiles(self.answers_s, n=20)[-1] if len(self.answers_s) > 1 else 0.0


async def run(port: int, path: str, clients: int, requests: int, headers: str = "") -> Load:
    """`clients` connections at once, each with its share of `requests`, one after the other."""
    load = Load()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()
    started = time.perf_counter()
    share = max(1, requests // clients)
    await asyncio.gather(*(_client(port, request, share, load) for _ in range(clients)))
    load.took_s = time.perf_counter() - started
    return load


async def _client(port: int, request: bytes, count: int, load: Load) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        load.errors += count
        return
    try:
        for done in range(count):
            started = time.perf_counter()
            try:
                status = await asyncio.wait_for(_exchange(reader, writer, request), TIMEOUT_S)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                load.errors += count - done
                return
            load.answers_s.append(time.perf_counter() - started)
            load.statuses[status] = load.statuses.get(status, 0) + 1
    finally:
        writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return int(head.split(b" ", 2)[1])
