"""What an answer costs with and without the steps taken under pressure: `python -m bench.pressed`.

Reads {"rounds", "requests", "rows", "key"} and answers, by the name of a step, the microseconds of
each round, as time and as processor time of this process, with the step and without it, and the
bytes of an answer. Each request goes through the gate and the pool of threads, one after the other.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import django

# The product as it is: its views are what is measured.
os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402
from redis import Redis  # noqa: E402

from accounts.models import Client  # noqa: E402
from audit import clock  # noqa: E402
from bench.owned import LIVES, owned  # noqa: E402
from pairing import device_code, pending, user_code  # noqa: E402
from pairing.models import Pairing, State  # noqa: E402
from ratelimit import flags  # noqa: E402
from ratelimit.flags import Forced, Step  # noqa: E402
from realtime.subscription import Subscription  # noqa: E402
from stabilizer.gate.admission import Gate  # noqa: E402
from stabilizer.serving import Serving  # noqa: E402

PREFIX = "bench-"
FOR_EVER = float("inf")
#: For the subscription to be heard, before what it vouches for is used.
SETTLE_S = 0.4
Scope = dict[str, Any]


class Cost(NamedTuple):
    """Of one request, in microseconds, and the bytes of its answer."""

    time_us: float
    cpu_us: float
    size: int


class Case(NamedTuple):
    """A step, and the requests that it makes cheaper."""

    step: Step
    scopes: Sequence[Scope]
    #: What the lighter answer is.
    status: int = 200


def main() -> None:
    given = json.load(sys.stdin)
    owned(given["rows"], State.ACKNOWLEDGED)
    devices = waiting(given["requests"])
    json.dump(asyncio.run(measure(given, devices)), sys.stdout)


def waiting(count: int) -> list[tuple[str, str]]:
    """So many pairings that wait: UDID and device_code of each."""
    client, run = Client.objects.get(), secrets.token_hex(4)
    codes = [device_code.mint(client.tenant_id) for _ in range(count)]
    pairs = [(f"{PREFIX}{run}-{number:06}", code) for number, code in enumerate(codes)]
    Pairing.objects.bulk_create(
        Pairing(
            tenant_id=client.tenant_id,
            client=client,
            udid=udid,
            app_type="bench",
            device_code_digest=device_code.digest(code),
            user_code=user_code.mint(),
            expires_at=clock.now() + LIVES,
        )
        for udid, code in pairs
    )
    return pairs


async def measure(given: Mapping[str, Any], devices: Sequence[tuple[str, str]]) -> dict[str, Any]:
    gate = Gate(Serving())
    hearing = Subscription(
        settings.REDIS_URL,
        pending.shared.changed,
        pending.shared.missed,
        on_alive=pending.shared.alive,
        ping_s=pending.PROOF_S,
    )
    hearing.start()
    await gate.start()
    try:
        return {
            case.step.name: await _side_by_side(gate, case, given["rounds"])
            for case in _cases(given, devices)
        }
    finally:
        await gate.stop()
        await hearing.stop()


def _cases(given: Mapping[str, Any], devices: Sequence[tuple[str, str]]) -> Iterator[Case]:
    count, key = given["requests"], given["key"]

    def of(path: str, query: str = "") -> list[Scope]:
        return [scope(path, key, query) for _ in range(count)]

    yield Case(flags.LISTS_TRIMMED, of("/api/v1/devices/", "limit=200"))
    yield Case(flags.FIELDS_TRIMMED, of("/api/v1/devices/"))
    yield Case(flags.SEARCH_OFF, of("/api/v1/devices/", "search=living"), 503)
    yield Case(flags.LISTS_STALE, of("/api/v1/devices/"))
    yield Case(
        flags.POLLS_COPIED, [scope(f"/api/v1/pairings/{udid}/", code) for udid, code in devices]
    )


async def _side_by_side(gate: Gate, case: Case, rounds: int) -> dict[str, list[Cost]]:
    found: dict[str, list[Cost]] = {"with": [], "without": []}
    await _cost(gate, case, taken=False)
    for _ in range(rounds):
        for name, taken in (("without", False), ("with", True)):
            found[name].append(await _cost(gate, case, taken=taken))
    return found


async def _cost(gate: Gate, case: Case, *, taken: bool) -> Cost:
    """Every request of the case once, with nothing but its step taken, or nothing at all."""
    forced = {step.name: Forced(taken and step is case.step, FOR_EVER) for step in flags.STEPS}
    flags._forced = forced
    _let_poll()
    await asyncio.sleep(SETTLE_S)
    # As the watcher of a process does twice a second, while somebody asks.
    pending.shared.find("")
    await asyncio.to_thread(pending.check)
    size, began, cpu_began = 0, time.perf_counter(), time.process_time()
    for scope in case.scopes:
        size += await _ask(gate, scope, case.status if taken else 200)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    count = len(case.scopes)
    return Cost(took_s / count * 1e6, cpu_s / count * 1e6, round(size / count))


async def _ask(gate: Gate, scope: Scope, status: int) -> int:
    """The bytes of the answer, which must have this status."""
    answer = Answer()
    await gate({**scope}, answer.receive, answer.send)
    if answer.status != status:
        raise RuntimeError(f"{scope['path']}: {answer.status} {answer.body[:300]!r}")
    return len(answer.body)


class Answer:
    """One request without a body, and what came of it."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await asyncio.get_running_loop().create_future()
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


def scope(path: str, bearer: str, query: str = "") -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {bearer}".encode())],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 9000),
    }


def _let_poll() -> None:
    """The interval between two polls has passed for every device."""
    with Redis.from_url(settings.REDIS_URL) as client:
        if names := client.keys("poll:*"):
            client.delete(*names)


if __name__ == "__main__":
    main()
