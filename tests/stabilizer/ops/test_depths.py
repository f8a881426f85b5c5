"""What waits elsewhere: read in a thread of its own, and unknown while the database hangs."""

import asyncio
import threading

import pytest

from stabilizer.ops.depths import Depths

pytestmark = pytest.mark.django_db(transaction=True)


async def asked(depths: Depths, *names: str) -> dict[str, float | None]:
    for _ in range(200):
        known = await depths.gauges()
        if set(names) <= known.keys():
            return known
        await asyncio.sleep(0.05)
    raise AssertionError(known)


async def test_trail_queues_and_locks_are_told(redis_client, vendor):
    redis_client.rpush("celery:audit", "a message")
    redis_client.hset("celery:unacked", mapping={"one": "that runs", "another": "put back"})
    depths = Depths()
    wanted = ("lock_waits", "lock_current") if vendor == "mysql" else ()
    known = await asked(depths, "audit_lag", "dead_letters", "missing_bytes", *wanted)
    assert known["database"] == 1
    assert (known["dead_letters"], known["missing_bytes"]) == (0, 0)
    assert (known["queue_default"], known["queue_audit"], known["queue_held"]) == (0, 1, 2)
    await depths.close()


async def test_a_database_that_hangs_is_away_and_holds_nobody_up(redis_client, monkeypatch):
    hangs = threading.Event()
    monkeypatch.setattr(Depths, "_read_locks", lambda self, now: hangs.wait(10))
    depths = Depths()
    for _ in range(3):
        known = await asyncio.wait_for(depths.gauges(), 1)
        assert known["database"] == 0
        assert "lock_waits" not in known
    hangs.set()
    await depths.close()


@pytest.fixture
def vendor() -> str:
    from django.db import connection

    return connection.vendor
