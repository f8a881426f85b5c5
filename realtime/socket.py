"""A device's WebSocket: a bare ASGI application, with no channel layer and no query of its own."""

import asyncio
import random
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from pairing import device_code
from ratelimit.connections import Connection, Full
from ratelimit.shared_networks import stands_for
from realtime import arrival, protocol
from realtime.gateway import Gateway
from realtime.outbox import SEND_S, Outbox
from realtime.protocol import Ack, Bye, End, Error, Hello, Message, Mistake, Pong, Renew
from realtime.wait import Wait

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

#: After the ends that say nothing of how much there is to do.
SOON_MS = (1000, 3000)
#: A client that goes on after it was told that it says too much may err so often.
WARNINGS = 1


class Sockets:
    """ASGI application for `/ws/pairings/`. `origins` are those that browsers may come from."""

    def __init__(self, gateway: Gateway, origins: frozenset[str]) -> None:
        self._gateway = gateway
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        origin = arrival.header(scope, b"origin")
        if origin and origin not in self._origins:
            # A browser's page learns no more than that; native clients send no Origin.
            await send({"type": "websocket.close"})
            return
        ours = protocol.SUBPROTOCOL in scope["subprotocols"]
        await send(
            {"type": "websocket.accept", "subprotocol": protocol.SUBPROTOCOL if ours else None}
        )
        await Socket(self._gateway, scope, send).run(receive)


class Socket:
    """One open WebSocket, from its acceptance to its end."""

    __slots__ = (
        "_connection",
        "_ended",
        "_gateway",
        "_outbox",
        "_pace",
        "_protocol",
        "_scope",
        "_send",
        "_timer",
        "_wait",
        "_warnings",
    )

    def __init__(self, gateway: Gateway, scope: Scope, send: Send) -> None:
        self._gateway = gateway
        self._scope: Scope | None = scope
        self._protocol = scope["stabilizer.wire"]
        self._send = send
        self._outbox = Outbox(self._send_text, self._stuck)
        self._connection: Connection | None = None
        self._wait: Wait | None = None
        self._ended = False
        self._pace = 0.0
        self._warnings = 0
        self._timer = self._after(protocol.GREET_S, partial(self.end, End.LATE_HELLO))

    async def run(self, receive: Receive) -> None:
        """Serve the connection until either side ends it."""
        gateway = self._gateway
        gateway.returns.wires.add(self)
        try:
            await self._enter()
            while (event := await receive())["type"] != "websocket.disconnect":
                if not self._ended:
                    await self._hear(event.get("text"))
        finally:
            self._ended = True
            self._timer.cancel()
            self._outbox.close()
            gateway.returns.wires.discard(self)
            if self._wait is not None:
                gateway.leave(self._wait)
                self._wait = None
            if self._connection is not None:
                gateway.connections.close(self._connection)

    def tell(self, message: Message) -> None:
        self._outbox.put(protocol.write(message))

    def end(self, end: End, retry_after_ms: int | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        if end.comes_back and retry_after_ms is None:
            retry_after_ms = random.randint(*SOON_MS)  # noqa: S311 - jitter, no secret
        asyncio.get_running_loop().create_task(self._part(end, retry_after_ms))

    async def _enter(self) -> None:
        assert self._scope is not None
        if self._gateway.returns.draining:
            self.end(End.DRAINING, self._gateway.returns.after_ms())
            return
        network = arrival.network(self._scope)
        most = self._gateway.connections.caps.network * stands_for(arrival.address(self._scope))
        place = await self._gateway.connections.open(network, most)
        if isinstance(place, Full):
            self._refuse(place, End.TOO_MANY_STRANGERS)
        else:
            self._connection = place

    async def _hear(self, text: str | None) -> None:
        if self._is_too_fast():
            return
        said = protocol.read(text)
        if isinstance(said, Mistake):
            self._complain(said)
        elif isinstance(said, Hello):
            await self._greet(said)
        elif self._wait is None:
            self._complain(Mistake.HELLO_FIRST)
        elif isinstance(said, Pong):
            self._ping_later()
        elif isinstance(said, Renew):
            await self._gateway.renew(self._wait)
        elif isinstance(said, Ack):
            await self._gateway.acknowledge(self._wait)

    async def _greet(self, hello: Hello) -> None:
        if self._wait is not None:
            self._complain(Mistake.HELLO_TWICE)
            return
        device = device_code.parse(hello.device_code)
        if device is None:
            self.end(End.UNAUTHORIZED)
            return
        assert self._connection is not None
        assert self._scope is not None
        full = await self._gateway.connections.greet(self._connection, device.digest)
        if full is not None:
            self._refuse(full, End.TOO_MANY_CONNECTIONS)
        elif not self._ended:
            context = arrival.context(self._scope)
            self._wait = Wait(self, device, hello.udid, resume=hello.resume, context=context)
            self._scope = None
            self._ping_later(random.uniform(0.2, 1))  # noqa: S311 - jitter, no secret
            self._gateway.join(self._wait)

    def _refuse(self, full: Full, too_many: End) -> None:
        assert self._scope is not None
        end = too_many if full is Full.SET else End.AT_CAPACITY
        self._gateway.returns.record_refusal(end, arrival.network(self._scope))
        self.end(end, self._gateway.returns.after_ms(end))

    def _complain(self, mistake: Mistake) -> None:
        self.tell(Error(code=mistake.code))

    def _is_too_fast(self) -> bool:
        """The generic cell rate algorithm, with the loop's clock: see `ratelimit.gcra`."""
        now = asyncio.get_running_loop().time()
        each_s = protocol.MESSAGES_S / protocol.MESSAGES
        pace = max(self._pace, now) + each_s
        if pace <= now + protocol.MESSAGES_S:
            self._pace = pace
            return False
        if self._warnings >= WARNINGS:
            self.end(End.TOO_MANY_MESSAGES)
        else:
            self._warnings += 1
            self._complain(Mistake.TOO_MANY_MESSAGES)
        return True

    def _ping_later(self, part: float = 1) -> None:
        self._timer.cancel()
        self._timer = self._after(protocol.PING_S * part, self._ping)

    def _ping(self) -> None:
        self.tell(protocol.Ping())
        self._timer = self._after(protocol.PONG_S, partial(self.end, End.NO_PONG))

    def _after(self, seconds: float, act: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, act)

    async def _send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def _part(self, end: End, retry_after_ms: int | None) -> None:
        bye = protocol.write(Bye(code=end.code, retry_after_ms=retry_after_ms))
        self._outbox.put(bye)
        if not await self._outbox.flush():
            return
        try:
            async with asyncio.timeout(SEND_S):
                await self._send({"type": "websocket.close", "code": end.close, "reason": end.code})
        except TimeoutError:
            self._protocol.abort()
        except OSError:
            return  # it has left by itself

    def _stuck(self) -> None:
        """The client does not read: what it is told now it may find when it does."""
        self._ended = True
        self._timer.cancel()
        retry_after_ms = random.randint(*SOON_MS)  # noqa: S311 - jitter, no secret
        bye = protocol.write(Bye(code=End.SLOW_READER.code, retry_after_ms=retry_after_ms))
        self._protocol.part(bye, End.SLOW_READER.close, End.SLOW_READER.code)
