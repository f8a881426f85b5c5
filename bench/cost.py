"""Processor time that limits add to a request, measured in this process: `python -m bench.cost`.

Reads {"rounds", "requests"} and answers the microseconds of each round by name. Every device asks
once, so that the peers, some of which keep a list of all requests, find theirs empty.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.test import RequestFactory

from bench import apps
from bench.devices import FINGERPRINT, UDID, Device
from bench.rounds import in_turn
from stabilizer.gate.admission import Gate

#: Requests in flight at the gate.
AT_ONCE = 64
WARM = 200

Application = Callable[[Any, Any, Any], Awaitable[None]]


def main() -> None:
    given = json.load(sys.stdin)
    with asyncio.Runner() as loop:
        gate = Gate(apps.nothing)
        loop.run(gate.start())
        try:
            json.dump(_costs(loop, gate, given["rounds"], given["requests"]), sys.stdout)
        finally:
            loop.run(gate.stop())


def _costs(loop: asyncio.Runner, gate: Gate, rounds: int, requests: int) -> dict[str, Any]:
    devices = map(Device, itertools.count())
    asgi = partial(_asgi_us, loop, devices)
    django = partial(_django_us, _handler(), devices)
    measures: dict[str, Callable[[int], float]] = {
        "gate": lambda count: asgi(gate, count) - asgi(apps.nothing, count),
        "drf": lambda count: django("/drf/limited", count) - django("/drf/plain", count),
        "ratelimit": lambda count: django("/ratelimit/limited", count) - django("/empty", count),
        "smart": lambda count: django("/smart/limited", count) - django("/empty", count),
    }
    for measure in measures.values():
        measure(WARM)
    return in_turn(rounds, {name: partial(measure, requests) for name, measure in measures.items()})


def _asgi_us(
    loop: asyncio.Runner, devices: Iterator[Device], app: Application, count: int
) -> float:
    """Microseconds per request of an application with `AT_ONCE` requests in flight."""
    asked = [(device.scope(), device.receive) for device in itertools.islice(devices, count)]
    statuses: set[int] = set()
    waiting = iter(asked)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    async def ask_on() -> None:
        for scope, receive in waiting:
            await app(scope, receive, send)

    async def ask_all() -> float:
        started = time.process_time()
        await asyncio.gather(*(ask_on() for _ in range(AT_ONCE)))
        return time.process_time() - started

    took_s = loop.run(ask_all())
    _assert_admitted(statuses)
    return took_s / count * 1e6


def _django_us(handler: BaseHandler, devices: Iterator[Device], path: str, count: int) -> float:
    """Microseconds per request of a view, one request after the other as a thread has them."""
    requests = [_request(path, device) for device in itertools.islice(devices, count)]
    statuses: set[int] = set()
    started = time.process_time()
    for request in requests:
        response = handler.get_response(request)
        statuses.add(response.status_code)
        response.close()
    took_s = time.process_time() - started
    _assert_admitted(statuses)
    return took_s / count * 1e6


def _handler() -> BaseHandler:
    handler = BaseHandler()
    handler.load_middleware()
    return handler


def _request(path: str, device: Device) -> HttpRequest:
    headers = {UDID: device.udid, FINGERPRINT: device.fingerprint}
    return RequestFactory().get(path, headers=headers, REMOTE_ADDR=device.address)


def _assert_admitted(statuses: set[int]) -> None:
    if statuses != {200}:
        raise AssertionError(f"not everybody was admitted: {statuses}")


if __name__ == "__main__":
    main()
