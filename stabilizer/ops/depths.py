"""What waits elsewhere, or is lost: the trail, Celery's queues, row locks. Asked of others, rarely.

The database is asked in one thread of our own. A hung one holds that thread, no slot and no thread
of the pool, and all that it would have told is unknown meanwhile.
"""

import asyncio
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from django.conf import settings
from django.db import DatabaseError, connection

from audit import stats

logger = logging.getLogger(__name__)

#: How long what the trail says is good for: it reads the spools.
TRAIL_FRESH_S = 10.0
LOCKS_FRESH_S = 1.0
#: An answer of the database that is older than this is not shown any more.
STALE_S = 5.0
ASK_S = 0.5
QUEUES = ("default", "audit")
QUEUE_PREFIX = "celery:"
#: What workers hold: it runs, or was put back and waits for its time.
HELD = QUEUE_PREFIX + "unacked"
LOCKS = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock%'"


class Depths:
    """The newest answers, each asked again when it is due, never waited for by who reads them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ops")
        self._trail: dict[str, float | None] = {}
        self._trail_at = self._locks_at = float("-inf")
        self._lock_rate: dict[str, float | None] = {}
        self._past_waits: float | None = None
        self._asking: Future[None] | None = None
        self._broker: redis.asyncio.Redis | None = None
        self._closed = False

    async def gauges(self) -> dict[str, float | None]:
        """Everything that is known now; asks for what is due."""
        now = time.monotonic()
        if self._asking is None or self._asking.done():
            self._asking = self._thread.submit(self._ask, now)
        known: dict[str, float | None] = {"database": float(now - self._locks_at < STALE_S)}
        if known["database"]:
            known |= self._trail | self._lock_rate
        return known | await self._queues()

    async def close(self) -> None:
        """Ends the thread, which a hung answer does not hold up. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self._thread.submit(connection.close)
        self._thread.shutdown(wait=False)
        if self._broker is not None:
            await self._broker.aclose()

    def _ask(self, now: float) -> None:
        try:
            if now - self._locks_at >= LOCKS_FRESH_S / 2:
                self._read_locks(now)
            if now - self._trail_at >= TRAIL_FRESH_S:
                self._read_trail()
                self._trail_at = time.monotonic()
        except (DatabaseError, OSError) as error:
            logger.info("the dashboard's figures: %s", type(error).__name__)
            connection.close()
        except Exception:
            logger.exception("the dashboard's figures could not be read")

    def _read_locks(self, now: float) -> None:
        is_mariadb = connection.vendor == "mysql"
        with connection.cursor() as cursor:
            cursor.execute(LOCKS if is_mariadb else "SELECT 1")
            rows = cursor.fetchall()
        if is_mariadb:
            found = {str(name): float(value) for name, value in rows}
            waits, past = found["Innodb_row_lock_waits"], self._past_waits
            if past is not None:
                self._lock_rate = {
                    "lock_waits": max(0.0, waits - past) / max(0.1, now - self._locks_at),
                    "lock_current": found["Innodb_row_lock_current_waits"],
                }
            self._past_waits = waits
        self._locks_at = time.monotonic()

    def _read_trail(self) -> None:
        found = stats.collect()
        self._trail = {
            "audit_waiting": found.waiting_events,
            "outbox": found.outbox_rows,
            "audit_lag": found.lag_s,
            "dead_letters": found.dead_letters,
            "missing_bytes": found.missing_bytes,
        }

    async def _queues(self) -> dict[str, float | None]:
        url = settings.CELERY_BROKER_URL
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            return {}
        if self._broker is None:
            self._broker = _client(url)
        pipeline: Any = self._broker.pipeline(transaction=False)
        for queue in QUEUES:
            pipeline.llen(QUEUE_PREFIX + queue)
        pipeline.hlen(HELD)
        try:
            async with asyncio.timeout(ASK_S):
                *lengths, held = await pipeline.execute()
        except (redis.RedisError, OSError):
            return {}
        waiting = {f"queue_{name}": n for name, n in zip(QUEUES, lengths, strict=True)}
        return {**waiting, "queue_held": held}


def _client(url: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=ASK_S, socket_connect_timeout=ASK_S, protocol=2, driver_info=None
    )
