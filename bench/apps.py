"""The applications that servers of `make bench` run: the same Django behind different doors."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
django.setup(set_prefix=False)

from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from ratelimit.gcra import Limit, Quota, Verdict  # noqa: E402
from stabilizer.gate import answers  # noqa: E402
from stabilizer.gate.address import Proxies  # noqa: E402
from stabilizer.gate.admission import Gate  # noqa: E402
from stabilizer.gate.arrival import Arrival  # noqa: E402
from stabilizer.server import GC_THRESHOLDS, calm_collector  # noqa: E402
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
stock = ASGIHandler()
wsgi = WSGIHandler()
pooled = Serving()
gate = Gate(nothing)
gated = Gate(pooled)

# As our own server does before it serves, and here for every door alike.
calm_collector(GC_THRESHOLDS)
