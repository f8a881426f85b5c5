"""The applications that servers of `make bench` run: the same Django behind different doors."""

import json
import os
import sys
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
django.setup(set_prefix=False)

from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from bench import views  # noqa: E402
from ratelimit.gcra import Limit, Quota, Verdict  # noqa: E402
from ratelimit.herd import Herd  # noqa: E402
from stabilizer.gate import answers  # noqa: E402
from stabilizer.gate.address import Proxies  # noqa: E402
from stabilizer.gate.admission import Application, Gate  # noqa: E402
from stabilizer.gate.arrival import Arrival  # noqa: E402
from stabilizer.gate.control import Control  # noqa: E402
from stabilizer.server import GC_THRESHOLDS, SWITCH_S, calm_collector  # noqa: E402
from stabilizer.serving import Serving  # noqa: E402


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """What an ASGI server alone can do: the ceiling of the others."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def words(scope: Any, receive: Any, send: Any) -> None:
    """What it can do if it reads the body and answers with the gate's words, always the same."""
    if scope["type"] != "http":
        return
    await receive()
    for message in REFUSAL:
        await send({**message})


VERDICT = Verdict(
    False,
    tuple(Quota(Limit(name, 5, 300), 0, 60) for name in ("udid", "fingerprint")),
    ("udid", "fingerprint"),
    60,
)
ARRIVAL = Arrival.read("POST", "/api/v1/pairings/", "::1", (), Proxies(()))
REFUSAL = answers.over_limits(ARRIVAL, VERDICT).messages(answers.added(ARRIVAL.request_id))


class Timed:
    """Tells at `/timings` how long each request was under way behind the gate, and how long after
    its arrival each view of them began.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._took_s: list[float] = []
        self._waited_s: list[float] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        began = time.perf_counter()
        await self._app(scope, receive, send)
        self._took_s.append(time.perf_counter() - began)

    async def told(self, scope: Any, receive: Any, send: Any) -> None:
        """Before the gate: the timings go to the path, everything else to the gate."""
        if scope["type"] == "http" and scope["path"] == "/timings":
            body = json.dumps({"took_s": self._took_s, "waited_s": self._waited_s}).encode()
            self._took_s, self._waited_s = [], []
            headers = [(b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        came_at = time.perf_counter()
        scope[views.BEGINS] = lambda: self._waited_s.append(time.perf_counter() - came_at)
        await timed_gate(scope, receive, send)


class ByHand:
    """A limit that somebody has set, in the place of the one that adapts."""

    def __init__(self, limit: int) -> None:
        self.limit = self.maximum = self.settled = limit

    def ended(self, *_: object, **__: object) -> None:
        """Learns nothing of it."""


class AtOnce(Herd):
    """Everybody is told the same, as it is usually done."""

    def retry_after(self, *_: Any, **__: Any) -> int:
        return 1


stock = ASGIHandler()
wsgi = WSGIHandler()
pooled = Serving()
gate = Gate(nothing)
gated = Gate(pooled)
by_hand = os.environ.get("BENCH_AT_ONCE")
inner = Timed(pooled)
timed_gate = Gate(inner, Control(adaptive=ByHand(int(by_hand)) if by_hand else None))


async def timed(scope: Any, receive: Any, send: Any) -> None:
    """The gate, and what is behind it, timed."""
    await inner.told(scope, receive, send)


gated_at_once = Gate(pooled, Control(herd=AtOnce()))

# As our own server does before it serves, and here for every door alike.
calm_collector(GC_THRESHOLDS)
sys.setswitchinterval(SWITCH_S)
