"""The same Django project behind three doors, for the servers that `bench.serving` starts."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
django.setup(set_prefix=False)

from django.core.handlers.asgi import ASGIHandler  # noqa: E402

from stabilizer.serving import Serving  # noqa: E402

stock = ASGIHandler()
pooled = Serving()


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """What an ASGI server alone can do: the ceiling of the others."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
