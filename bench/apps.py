"""The applications that servers of `make bench` run: the same Django behind different doors."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
django.setup(set_prefix=False)

from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from stabilizer.gate.admission import Gate  # noqa: E402
from stabilizer.server import calm_collector  # noqa: E402
from stabilizer.serving import Serving  # noqa: E402


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """What an ASGI server alone can do: the ceiling of the others."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


stock = ASGIHandler()
wsgi = WSGIHandler()
pooled = Serving()
gate = Gate(nothing)
gated = Gate(pooled)

# As our own server does before it serves, and here for every door alike.
calm_collector()
