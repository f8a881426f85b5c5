"""A fleet of gates in one process, for Redis to see: `python -m bench.fleet`.

Reads {"rounds", "seconds", "processes", "in_flight"} and answers the slot calls per second of each
round: of one process that is idle, of the same one under load, and of several under that load. Each
gate has a client of Redis, limits and a lease of its own, which is all that Redis knows of a
process.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.conf import settings
from redis import Redis

from bench import apps
from bench.devices import Device
from bench.redis_usage import Usage
from bench.rounds import in_turn
from ratelimit.limiter import Limiter
from ratelimit.store import Store
from stabilizer.gate.admission import Gate
from stabilizer.gate.control import Control

#: A lease is refreshed at once when its process begins, and from then on once a second.
SETTLED_S = 1.0
#: Other devices than those of the measures on the same Redis.
FIRST = 1 << 22


def main() -> None:
    given = json.load(sys.stdin)
    devices = map(Device, itertools.count(FIRST))
    leases_per_s = partial(_leases_per_s, devices, given["seconds"])
    processes, in_flight = given["processes"], given["in_flight"]
    measures = {
        "idle": partial(leases_per_s, 1, 0),
        "loaded": partial(leases_per_s, 1, in_flight),
        "fleet": partial(leases_per_s, processes, in_flight // processes),
    }
    json.dump(in_turn(given["rounds"], measures), sys.stdout)


def _leases_per_s(
    devices: Iterator[Device], seconds: float, processes: int, in_flight: int
) -> float:
    return asyncio.run(_measure(devices, seconds, processes, in_flight))


async def _measure(
    devices: Iterator[Device], seconds: float, processes: int, in_flight: int
) -> float:
    stores = [Store(settings.REDIS_URL) for _ in range(processes)]
    gates = [Gate(apps.nothing, Control(Limiter(store))) for store in stores]
    await asyncio.gather(*(gate.start() for gate in gates))
    await asyncio.sleep(SETTLED_S)
    with Redis.from_url(settings.REDIS_URL) as redis:
        before = Usage.of(redis)
        until = time.monotonic() + seconds
        clients = (_ask_on(gate, devices, until) for gate in gates for _ in range(in_flight))
        await asyncio.gather(asyncio.sleep(seconds), *clients)
        used = Usage.of(redis) - before
    await asyncio.gather(*(gate.stop() for gate in gates))
    for store in stores:
        store.close()
    return used.leases / seconds


async def _ask_on(gate: Gate, devices: Iterator[Device], until: float) -> None:
    async def send(message: Any) -> None:
        pass

    while time.monotonic() < until:
        device = next(devices)
        await gate(device.scope(), device.receive, send)


if __name__ == "__main__":
    main()
