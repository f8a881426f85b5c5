"""What a process starts before its first request and ends after its last one."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from stabilizer.serving import Receive, Scope, Send

logger = logging.getLogger(__name__)

Step = Callable[[], Any]


class Lifespan:
    """ASGI middleware that runs `start` and `stop` when the server asks for it.

    A step may be a function or a coroutine function; it runs in the event loop. A step of `start`
    that raises keeps the process from serving; one of `stop` that raises is logged.
    """

    def __init__(self, app: Any, start: Sequence[Step] = (), stop: Sequence[Step] = ()) -> None:
        self.app = app
        self._start = start
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        await receive()
        try:
            for step in self._start:
                await _run(step)
        except Exception as error:
            logger.exception("this process cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for step in self._stop:
            try:
                await _run(step)
            except Exception:
                logger.exception("a step of this process's end failed")
        await send({"type": "lifespan.shutdown.complete"})


async def _run(step: Step) -> None:
    result = step()
    if asyncio.iscoroutine(result):
        await result
