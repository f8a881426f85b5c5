"""What a process that starts reads before its first request, within a second."""

import asyncio
import logging
import threading
from collections.abc import Callable

from django.db import connections

from ratelimit import cache

logger = logging.getLogger(__name__)

#: The longest that warming keeps a process from its first request, whatever hangs.
PATIENCE_S = 1.0


async def warm() -> None:
    """Read the rows that the fleet has used last. A step of `Lifespan`; it never fails.

    A daemon thread does it: with a database that hangs it is left to itself.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=_warm, args=[tell], name="warming", daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), PATIENCE_S)
    except TimeoutError:
        logger.info("requests come before the rows that are used most: they take too long to read")


def _warm(tell: Callable[[], None]) -> None:
    try:
        cache.warm()
    except Exception:
        logger.exception("rows could not be warmed")
    finally:
        connections.close_all()
        tell()
