"""Redis hangs, dies, loses answers and comes back: the gate goes on."""

import asyncio
import time
from collections.abc import Iterator

import pytest
import redis

from ratelimit.gcra import Limit
from ratelimit.health import Mode
from ratelimit.limiter import Limiter
from ratelimit.store import Store
from stabilizer.gate.policy import DEFAULTS, Policy, Rule
from tests.faults.proxy import Proxy
from tests.stabilizer.gate.conftest import App
from tests.stabilizer.gate.door import Door

FEW = Policy("default", rules=(Rule(Limit("few", 4, 3600), ("network",), "default.few"),))


@pytest.fixture
def proxy(redis_client: redis.Redis) -> Iterator[Proxy]:
    place = redis_client.connection_pool.connection_kwargs
    with Proxy(place.get("path") or place["port"]) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: Proxy, redis_client: redis.Redis) -> Iterator[Limiter]:
    """A limiter whose Redis is behind the proxy."""
    number = redis_client.connection_pool.connection_kwargs.get("db", 0)
    store = Store(f"redis://127.0.0.1:{proxy.port}/{number}", probe_s=0.05, recovering_s=0.2)
    yield Limiter(store)
    store.close()


async def reached(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["hang", "refuse", "lose_replies"])
async def test_a_missing_redis_costs_50_ms_once_and_the_limits_hold(
    gates, far, proxy, policies_in_force, fault
):
    policies_in_force.swap({**DEFAULTS, "default": FEW})
    gate = await gates(App(), limiter=far)
    door = Door(gate)
    assert [(await door.knock()).status for _ in range(2)] == [200, 200]
    share = gate.control.lease.share
    getattr(proxy, fault)()
    began = time.monotonic()
    together = await asyncio.gather(*(door.knock() for _ in range(3)))
    first_s = time.monotonic() - began
    assert sorted(reply.status for reply in together) == [200, 200, 429]
    await reached(lambda: far.store.mode is Mode.LOCAL)
    began = time.monotonic()
    for number in range(100):
        # Another network each, so that each is decided by the local limits.
        assert (await door.knock(peer=f"10.0.{number}.1")).status == 200
    assert first_s < 0.5
    assert time.monotonic() - began < 100 * 0.05
    assert gate.control.lease.share == share
    proxy.heal()
    await reached(lambda: far.store.mode is Mode.HEALTHY)
    assert (await door.knock(peer="10.1.1.1")).admission.quotas[0].remaining == 3


async def test_a_redis_that_is_away_at_the_start_leaves_a_small_share(gates, far, proxy):
    proxy.refuse()
    gate = await gates(App(), limiter=far, cap=32)
    assert gate.control.slots.limit == 2
    assert (await Door(gate).knock()).status == 200
