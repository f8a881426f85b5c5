"""What the gate costs per request: processor time, its Redis client included, Django not."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

REQUESTS = 10_000
AT_ONCE = 100


@dataclass(frozen=True)
class Cost:
    what: str
    cpu_us: float
    statuses: dict[int, int]


def costs() -> Iterator[Cost]:
    """The gate's cost of an admitted request, and of one refused from memory."""
    # A home of its own for each device: no two share a network.
    yield asyncio.run(_measure("admitted, three limits", lambda number: number))
    yield asyncio.run(_measure("refused, over its limit", lambda number: 0))


async def _measure(what: str, device: Callable[[int], int]) -> Cost:
    from bench.apps import nothing
    from stabilizer.gate.admission import Gate

    gate = Gate(nothing)
    await gate.start()
    statuses: dict[int, int] = {}
    try:
        await _run(gate, device, range(AT_ONCE), {})
        started = time.process_time()
        await _run(gate, device, range(AT_ONCE, REQUESTS + AT_ONCE), statuses)
        cpu_s = time.process_time() - started
    finally:
        await gate.stop()
    return Cost(what, cpu_s / REQUESTS * 1e6, statuses)


async def _run(
    gate: Any, device: Callable[[int], int], numbers: range, statuses: dict[int, int]
) -> None:
    for first in numbers[::AT_ONCE]:
        batch = range(first, min(first + AT_ONCE, numbers.stop))
        await asyncio.gather(*(_ask(gate, device(number), statuses) for number in batch))


async def _ask(gate: Any, device: int, statuses: dict[int, int]) -> None:
    body = json.dumps({"app_type": "tv", "udid": f"bench-{device:012d}"}).encode()
    address = f"10.{device >> 8 & 255}.{device & 255}.1"
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-forwarded-for", address.encode()),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/v1/pairings/",
        "raw_path": b"/api/v1/pairings/",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 9000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses[message["status"]] = statuses.get(message["status"], 0) + 1

    await gate(scope, receive, send)
