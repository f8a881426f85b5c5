"""Connections are counted exactly, by client, network, process and fleet, whatever happens."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis
from django.conf import settings

from ratelimit.connections import KEYS, Caps, Connection, Connections, Full
from ratelimit.store import Store
from tests.faults.proxy import Proxy
from tests.ratelimit.test_leases import eventually

LEASE_S = 0.3
CAPS = Caps(fleet=1000, process=1000, client=5, network=50)


@asynccontextmanager
async def running(store: Store, caps: Caps = CAPS) -> AsyncIterator[Connections]:
    connections = Connections(store, caps, lease_s=LEASE_S)
    connections.start()
    try:
        yield connections
    finally:
        await connections.stop()


@pytest.fixture
def stores(redis_client: redis.Redis) -> Iterator[list[Store]]:
    """A client of Redis for each of three processes."""
    made = [Store(settings.REDIS_URL, timeout_s=2) for _ in range(3)]
    yield made
    for store in made:
        store.close()


@asynccontextmanager
async def fleet(stores: list[Store], caps: Caps = CAPS) -> AsyncIterator[list[Connections]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(store, caps)) for store in stores]


async def open_many(processes: list[Connections], count: int, network: str | None = None):
    """`count` connections at once, in turn at each process; those that were opened, and why not."""
    asked = [
        processes[number % len(processes)].open(network or f"10.0.{number}")
        for number in range(count)
    ]
    places = await asyncio.gather(*asked)
    opened = [place for place in places if isinstance(place, Connection)]
    return opened, Counter(place for place in places if isinstance(place, Full))


async def open_of_client(process: Connections, client: str) -> Connection | Full:
    connection = await process.open("10.9.9")
    assert isinstance(connection, Connection)
    full = await process.greet(connection, client)
    if full is not None:
        process.close(connection)
        return full
    return connection


async def test_exactly_five_of_one_client_are_open_though_twenty_come_at_once_to_three_processes(
    stores: list[Store],
) -> None:
    async with fleet(stores) as processes:
        places = await asyncio.gather(
            *(open_of_client(processes[number % 3], "device") for number in range(20))
        )
        assert Counter(isinstance(place, Connection) for place in places) == {True: 5, False: 15}
        assert {place for place in places if isinstance(place, Full)} == {Full.SET}


async def test_exactly_fifty_of_a_network_wait_for_their_hello(stores: list[Store]) -> None:
    async with fleet(stores) as processes:
        opened, refused = await open_many(processes, 200, "192.0.2")
        assert len(opened) == 50
        assert refused == {Full.SET: 150}


async def test_the_fleet_holds_exactly_its_cap_and_again_after_some_have_left(
    stores: list[Store],
) -> None:
    caps = Caps(fleet=100, process=1000, client=5, network=50)
    async with fleet(stores, caps) as processes:
        opened, refused = await open_many(processes, 300)
        assert (len(opened), refused) == (100, {Full.FLEET: 200})
        fullest, *others = sorted(processes, key=lambda process: -process.held)
        for connection in list(fullest._open)[:7]:
            fullest.close(connection)
        await eventually(lambda: not fullest._changes)
        await asyncio.sleep(0.05)
        opened, refused = await open_many(others, 50)
        assert (len(opened), refused) == (7, {Full.FLEET: 43})


async def test_a_process_holds_no_more_than_its_own_cap(stores: list[Store]) -> None:
    caps = Caps(fleet=1000, process=30, client=5, network=50)
    async with fleet(stores[:2], caps) as processes:
        opened, refused = await open_many(processes, 100)
        assert (len(opened), refused) == (60, {Full.PROCESS: 40})


async def test_a_connection_that_says_whose_it_is_no_longer_counts_for_its_network(
    store: Store,
) -> None:
    async with running(store) as process:
        for number in range(60):
            connection = await process.open("192.0.2")
            assert isinstance(connection, Connection)
            assert await process.greet(connection, f"device {number}") is None
        assert process.held == 60


async def test_a_refused_sixth_connection_is_given_back_when_it_closes(store: Store) -> None:
    async with running(store) as process:
        kept = [await open_of_client(process, "device") for _ in range(5)]
        assert await open_of_client(process, "device") is Full.SET
        process.close(kept[0])
        assert isinstance(await open_of_client(process, "device"), Connection)
        assert process.held == 5


async def test_a_connection_whose_client_is_known_at_once_counts_for_it(store: Store) -> None:
    async with running(store) as process:
        places = [await process.open_for("device") for _ in range(6)]
        assert [isinstance(place, Connection) for place in places] == [True] * 5 + [False]


async def test_closing_twice_is_closing_once(store: Store) -> None:
    async with running(store, Caps(fleet=1, process=1)) as process:
        connection = await process.open("10.0.0")
        assert isinstance(connection, Connection)
        process.close(connection)
        process.close(connection)
        assert isinstance(await process.open("10.0.0"), Connection)
        assert await process.open("10.0.0") is Full.PROCESS


async def test_what_a_killed_process_held_is_free_within_one_lease(stores: list[Store]) -> None:
    caps = Caps(fleet=20, process=20, client=5, network=50)
    async with running(stores[1], caps) as other:
        async with running(stores[0], caps) as killed:
            for _ in range(5):
                assert isinstance(await open_of_client(killed, "device"), Connection)
            opened, _ = await open_many([killed], 15)
            assert len(opened) == 15
            assert await other.open("10.0.0") is Full.FLEET
        # `stop` ends the lease's renewal and closes nothing, as `kill -9` does.
        await asyncio.sleep(LEASE_S * 1.2)
        places = [await open_of_client(other, "device") for _ in range(6)]
        assert [isinstance(place, Connection) for place in places] == [True] * 5 + [False]
        opened, refused = await open_many([other], 30)
        assert (len(opened), refused) == (15, {Full.PROCESS: 15})


async def test_after_a_flush_all_is_counted_again_within_one_lease(
    stores: list[Store], redis_client: redis.Redis
) -> None:
    caps = Caps(fleet=20, process=20, client=5, network=50)
    async with fleet(stores[:2], caps) as (first, second):
        for _ in range(5):
            await open_of_client(first, "device")
        await open_many([first, second], 14)
        redis_client.flushdb()
        await asyncio.sleep(LEASE_S)
        assert await open_of_client(second, "device") is Full.SET
        opened, _ = await open_many([first, second], 30)
        assert len(opened) == 1


async def test_without_redis_each_process_keeps_the_same_caps_beside_what_the_others_had(
    proxy: Proxy, far_store: Store, stores: list[Store]
) -> None:
    caps = Caps(fleet=30, process=25, client=5, network=20)
    async with running(stores[0], caps) as other, running(far_store, caps) as cut_off:
        await open_many([other], 10)
        await asyncio.sleep(LEASE_S)
        proxy.refuse()
        places = [await open_of_client(cut_off, "device") for _ in range(6)]
        assert [isinstance(place, Connection) for place in places] == [True] * 5 + [False]
        opened, refused = await open_many([cut_off], 40, "192.0.2")
        assert (len(opened), refused) == (15, {Full.FLEET: 25})
        proxy.heal()
        await eventually(lambda: far_store.health.asks)
        await asyncio.sleep(LEASE_S * 1.5)
        assert await other.open("10.7.7") is Full.FLEET


async def test_what_was_closed_while_redis_was_away_does_not_count_afterwards(
    proxy: Proxy, far_store: Store, stores: list[Store], redis_client: redis.Redis
) -> None:
    async with running(stores[0]) as other, running(far_store) as cut_off:
        places = [await open_of_client(cut_off, "device") for _ in range(5)]
        kept = [await open_of_client(cut_off, f"other {number}") for number in range(3)]
        await asyncio.sleep(LEASE_S / 2)
        proxy.refuse()
        for place in places:
            assert isinstance(place, Connection)
            cut_off.close(place)
        await asyncio.sleep(LEASE_S)
        proxy.heal()
        await eventually(lambda: far_store.health.asks and not cut_off._is_unsure)
        await eventually(lambda: not cut_off._changes)
        await asyncio.sleep(0.05)
        again = [await open_of_client(other, "device") for _ in range(6)]
        assert [isinstance(place, Connection) for place in again] == [True] * 5 + [False]
        await eventually(lambda: not other._changes)
        await asyncio.sleep(0.05)
        told = {name.decode(): int(held) for name, held in redis_client.hgetall(KEYS[1]).items()}
        assert told == {cut_off.process: len(kept), other.process: 5}


async def test_who_leaves_while_it_is_counted_holds_nothing(store: Store) -> None:
    async with running(store, Caps(fleet=1, process=1)) as process:
        asked = asyncio.create_task(process.open("10.0.0"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await eventually(lambda: not process._changes and process.held == 0)
        assert isinstance(await process.open("10.0.0"), Connection)


async def test_after_any_order_of_events_redis_holds_exactly_what_is_open(
    stores: list[Store], redis_client: redis.Redis
) -> None:
    chance = random.Random(5)

    async def live(process: Connections) -> list[Connection]:
        kept: list[Connection] = []
        for _ in range(150):
            place = await process.open(f"10.0.{chance.randrange(3)}")
            if isinstance(place, Full):
                continue
            refused = chance.random() < 0.8 and await process.greet(
                place, f"device {chance.randrange(4)}"
            )
            if refused or chance.random() < 0.6:
                process.close(place)
            else:
                kept.append(place)
            if kept and chance.random() < 0.4:
                process.close(kept.pop(chance.randrange(len(kept))))
        return kept

    async with fleet(stores) as processes:
        kept = await asyncio.gather(*(live(process) for process in processes for _ in range(4)))
        await eventually(lambda: not any(process._changes for process in processes))
        await asyncio.sleep(0.05)
        found = Counter(
            member.decode()
            for key in redis_client.scan_iter("rl:{-}:connections:*:*")
            for member in redis_client.smembers(key)
        )
        open_now = Counter(
            f"{process.process} {connection.number}"
            for process in processes
            for connection in process._open
        )
        assert found == open_now
        assert sum(map(len, kept)) == sum(open_now.values())
        sizes = {key: redis_client.scard(key) for key in redis_client.scan_iter("rl:*:client:*")}
        assert max(sizes.values()) <= 5
        told = {name.decode(): int(held) for name, held in redis_client.hgetall(KEYS[1]).items()}
        assert told == {process.process: process.held for process in processes}
