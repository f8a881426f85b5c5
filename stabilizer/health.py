"""Probes, answered before the gate and outside the pool, so that a full service still answers them.

`/healthz` says that the process runs; it depends on nothing. `/readyz` looks at what the service
needs: without the database it is not ready (503), without Redis or the broker it goes on by local
limits and the spool, which it calls degraded (200).
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from django.conf import settings
from django.db import connection

from stabilizer.serving import Message, Receive, Scope, Send

CHECK_S = 1.0
#: One set of checks answers every probe that comes within this time: the door is open to anybody.
FRESH_S = 1.0

Check = Callable[[], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Readiness:
    """The checks, run at most once in `FRESH_S` whoever asks, each for at most `CHECK_S`."""

    def __init__(self, checks: dict[str, Check], needed: frozenset[str]) -> None:
        self._checks = checks
        self._needed = needed
        self._running: asyncio.Task[dict[str, Any]] | None = None
        self._checked_at = 0.0

    async def report(self) -> dict[str, Any]:
        """`{"status": "ready" | "degraded" | "unready", "checks": {name: {"ok", "ms"}}}`."""
        if self._running is None or self._stale():
            self._checked_at = time.monotonic()
            self._running = asyncio.create_task(self._check_all())
        return await asyncio.shield(self._running)

    def _stale(self) -> bool:
        running = self._running
        if running is not None and running.get_loop() is not asyncio.get_running_loop():
            return True
        return (
            time.monotonic() - self._checked_at > FRESH_S and running is not None and running.done()
        )

    async def _check_all(self) -> dict[str, Any]:
        results = await asyncio.gather(*(self._check(check) for check in self._checks.values()))
        checks = dict(zip(self._checks, results, strict=True))
        failed = {name for name, result in checks.items() if not result["ok"]}
        status = "unready" if failed & self._needed else "degraded" if failed else "ready"
        return {"status": status, "checks": checks}

    async def _check(self, check: Check) -> dict[str, Any]:
        started = time.perf_counter()
        result: dict[str, Any] = {"ok": True}
        try:
            await asyncio.wait_for(check(), CHECK_S)
        except Exception as error:
            # The kind only: messages of drivers carry hosts and user names.
            result = {"ok": False, "error": type(error).__name__}
        return {**result, "ms": round((time.perf_counter() - started) * 1000, 1)}


class Health:
    """ASGI middleware that answers the probes and passes everything else on."""

    def __init__(self, app: Asgi, readiness: Readiness) -> None:
        self.app = app
        self.readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else None
        if path == "/healthz":
            await _answer(send, 200, {"status": "ok"})
        elif path == "/readyz":
            report = await self.readiness.report()
            await _answer(send, 503 if report["status"] == "unready" else 200, report)
        else:
            await self.app(scope, receive, send)


async def _answer(send: Send, status: int, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


# A hung database holds this one thread, and later checks time out behind it: unready, as it is.
_thread = ThreadPoolExecutor(1, thread_name_prefix="readiness")


async def _database() -> None:
    await asyncio.get_running_loop().run_in_executor(_thread, _select)


def _select() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Exception:
        connection.close()
        raise


async def _redis() -> None:
    await _ping(settings.REDIS_URL)


async def _broker() -> None:
    url = settings.CELERY_BROKER_URL
    if urlsplit(url).scheme in ("redis", "rediss", "unix"):
        await _ping(url)


async def _ping(url: str) -> None:
    client = redis.asyncio.Redis.from_url(url, socket_timeout=CHECK_S, protocol=2)
    async with client:
        await client.ping()


CHECKS: dict[str, Check] = {"database": _database, "redis": _redis, "broker": _broker}
NEEDED = frozenset({"database"})
