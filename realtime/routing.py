"""The paths of the gateway."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from realtime.gateway import Gateway
from realtime.socket import Receive, Scope, Send, Sockets
from realtime.stream import Streams

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def application(gateway: Gateway, origins: frozenset[str]) -> Asgi:
    """All that a gateway's process serves; `origins` are those whose pages may connect."""
    # Channels routes ASGI applications; Django's stubs know of views only.
    at_the_path = path("ws/pairings/", cast(Any, Sockets(gateway, origins)))
    sockets = URLRouter([at_the_path, re_path("", cast(Any, nowhere))])
    router: Asgi = ProtocolTypeRouter({"websocket": sockets, "http": Streams(gateway)})
    return router


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses a WebSocket to any other path."""
    await receive()
    await send({"type": "websocket.close"})
