"""Tells the gateway's application who came, and how, before proxies of ours."""

from ratelimit.network import plain
from stabilizer.gate.address import Proxies
from stabilizer.gate.headers import Headers
from stabilizer.health import Asgi
from stabilizer.serving import Receive, Scope, Send


class Introduction:
    """ASGI middleware that puts the client's own address into the scope."""

    def __init__(self, app: Asgi, proxies: Proxies) -> None:
        self.app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = plain((scope.get("client") or ("", 0))[0])
            forwarded = Headers(scope["headers"])[b"x-forwarded-for"]
            if forwarded and self._proxies.trusts(peer):
                peer = self._proxies.client(peer, forwarded)
            scope["client"] = (peer, 0)
        await self.app(scope, receive, send)
