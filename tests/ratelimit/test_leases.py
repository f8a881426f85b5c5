import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import pytest
import redis

from ratelimit.leases import KEYS, SlotLease
from ratelimit.store import Store
from tests.faults.proxy import Proxy
from tests.hand_clock import HandClock

LEASE_S = 0.2


async def eventually(what: Callable[[], bool], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.005)


class Demand:
    """What the gate would report."""

    def __init__(self, wants: int = 0) -> None:
        self.in_use = 0
        self.wants = wants
        self.critical = 0
        self.reports = 0

    def __call__(self) -> tuple[int, int, int]:
        self.reports += 1
        return self.in_use, self.wants, self.critical


@asynccontextmanager
async def held(lease: SlotLease) -> AsyncIterator[SlotLease]:
    lease.start()
    try:
        yield lease
    finally:
        await lease.stop()


async def test_it_gets_its_share_as_soon_as_the_recovery_of_an_empty_redis_is_over(
    store: Store,
) -> None:
    async with held(SlotLease(store, 500, Demand(100), lease_s=LEASE_S)) as lease:
        began = time.monotonic()
        await eventually(lambda: lease.share == 100)
        assert time.monotonic() - began >= LEASE_S
        assert (lease.processes, store.processes) == (1, 1)


async def test_a_nudge_refreshes_at_once_and_not_after_a_second(store: Store) -> None:
    demand, heard = Demand(5), list[int]()
    lease = SlotLease(store, 500, demand, lease_s=LEASE_S, on_share=heard.append)
    async with held(lease):
        await eventually(lambda: lease.share == 5)
        await asyncio.sleep(0.05)
        demand.wants = 40
        began = time.monotonic()
        lease.nudge()
        await eventually(lambda: lease.share == 40)
        assert time.monotonic() - began < 0.5
    assert heard == [5, 40]


async def test_only_demand_above_the_share_falls_short(store: Store) -> None:
    demand = Demand(5)
    async with held(SlotLease(store, 500, demand, lease_s=LEASE_S)) as lease:
        await eventually(lambda: lease.share == 5)
        assert not lease.falls_short
        demand.wants = 6
        assert lease.falls_short


async def test_nudges_refresh_at_most_every_20_ms(store: Store) -> None:
    demand = Demand(0)
    async with held(SlotLease(store, 500, demand, lease_s=LEASE_S)) as lease:
        await eventually(lambda: lease.share == 1)
        demand.reports = 0
        began = time.monotonic()
        while time.monotonic() < began + 0.3:
            lease.nudge()
            await asyncio.sleep(0.001)
        assert 2 <= demand.reports <= (time.monotonic() - began) / 0.020 + 1


async def test_two_processes_share_and_each_knows_of_the_other(store: Store) -> None:
    first = SlotLease(store, 100, Demand(500), lease_s=1)
    second = SlotLease(store, 100, Demand(500), lease_s=1)
    async with held(first), held(second):
        await eventually(lambda: first.share == second.share == 45)
        assert (first.processes, second.processes, store.processes) == (2, 2, 2)


async def test_nobody_is_taken_for_gone_before_an_emptied_redis_can_know(
    store: Store, redis_client: redis.Redis
) -> None:
    first, other = (SlotLease(store, 500, Demand(9), lease_s=LEASE_S) for _ in range(2))
    for lease in (other, first):
        await lease.refresh()
    redis_client.flushdb()
    await first.refresh()
    assert first.recovering_s
    assert (first.processes, store.processes) == (2, 2)
    # The other one does not come back.
    async with held(first):
        await eventually(lambda: not first.recovering_s)
        assert (first.processes, store.processes) == (1, 1)


async def test_nobody_is_taken_for_gone_who_may_find_redis_back_a_little_later(
    far_url: str, redis_client: redis.Redis
) -> None:
    clock = HandClock()
    with closing(Store(far_url, clock=clock)) as store:
        first, other = (SlotLease(store, 500, Demand(9), lease_s=LEASE_S) for _ in range(2))
        for lease in (other, first):
            await lease.refresh()
        for good in (False, True):
            store.health.probed(good)
        # What was leased has lapsed meanwhile, and the other one does not come back.
        redis_client.flushdb()
        async with asyncio.timeout(10):
            while await first.refresh() and first.recovering_s:
                await asyncio.sleep(LEASE_S / 4)
        assert (first.processes, store.processes) == (2, 2)

        clock.advance(61)
        await first.refresh()
        assert (first.processes, store.processes) == (1, 1)


async def test_an_idle_process_keeps_a_small_share(store: Store) -> None:
    async with held(SlotLease(store, 500, Demand(0), idle=8, lease_s=LEASE_S)) as lease:
        await eventually(lambda: lease.share == 8)


async def test_stopping_gives_the_slots_back(store: Store, redis_client: redis.Redis) -> None:
    async with held(SlotLease(store, 500, Demand(100), lease_s=LEASE_S)) as lease:
        await eventually(lambda: lease.share == 100)
        assert redis_client.zcard(KEYS[0]) == 1
    assert redis_client.zcard(KEYS[0]) == 0
    assert not redis_client.hexists(KEYS[1], lease.process)


async def test_without_redis_the_share_stays_and_never_grows(
    far_store: Store, proxy: Proxy, hand: HandClock
) -> None:
    demand = Demand(100)
    lease = SlotLease(far_store, 500, demand, lease_s=LEASE_S, clock=hand)
    for _ in range(6):
        await asyncio.sleep(await lease.refresh())
    assert lease.share == 100
    proxy.refuse()
    demand.wants = 400
    hand.advance(60)
    for _ in range(5):
        await lease.refresh()
    assert (lease.share, lease.renewed_s) == (100, 60)


async def test_a_process_cut_off_longer_than_its_lease_says_so_once_and_when_it_is_back(
    far_store: Store, proxy: Proxy, hand: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [line.getMessage() for line in caplog.records if line.name == "ratelimit.leases"]

    lease = SlotLease(far_store, 500, Demand(100), lease_s=LEASE_S, clock=hand)
    for _ in range(6):
        await asyncio.sleep(await lease.refresh())
    proxy.refuse()
    await lease.refresh()
    assert said() == []
    hand.advance(LEASE_S)
    for _ in range(3):
        await lease.refresh()
    (alarm,) = said()
    assert "is cut off and keeps its 100 slots" in alarm
    assert lease.lapsed
    proxy.heal()
    await eventually(lambda: far_store.health.asks)
    await lease.refresh()
    assert "has its lease again" in said()[-1]
    assert not lease.lapsed


async def test_a_process_that_never_reached_redis_has_only_its_cold_share(
    far_store: Store, proxy: Proxy
) -> None:
    proxy.refuse()
    lease = SlotLease(far_store, 500, Demand(100), cold_share=4)
    await lease.refresh()
    assert lease.share == 4


def test_a_thread_can_hold_the_lease_as_well(store: Store, redis_client: redis.Redis) -> None:
    stopped, has_share = threading.Event(), threading.Event()
    lease = SlotLease(store, 500, Demand(20), lease_s=LEASE_S, on_share=lambda _: has_share.set())
    thread = threading.Thread(target=lease.hold_now, args=[stopped])
    thread.start()
    assert has_share.wait(5)
    assert lease.share == 20
    stopped.set()
    lease.nudge()
    thread.join(5)
    assert redis_client.zcard(KEYS[0]) == 0
