"""The fleet's pressure is the highest of any process that is alive."""

import redis

from ratelimit import pressures
from ratelimit.store import Store


def let_lapse(redis_client: redis.Redis, process: str) -> None:
    """Redis's clock cannot be moved, but what it waits for can."""
    level = redis_client.hget(pressures.KEY, process).split()[0].decode()
    redis_client.hset(pressures.KEY, process, f"{level} 1")


def test_where_nobody_serves_there_is_no_pressure(store: Store) -> None:
    assert pressures.fleet_level(store) == 0


async def test_the_highest_level_of_any_process_is_the_fleets(store: Store) -> None:
    await pressures.tell(store, "a", 1)
    assert await pressures.tell(store, "b", 3) == {"a": 1, "b": 3}
    assert pressures.fleet_level(store) == 3
    pressures.tell_now(store, "b", 0)
    assert pressures.fleet_level(store) == 1


async def test_a_process_that_died_presses_on_nobody(
    store: Store, redis_client: redis.Redis
) -> None:
    await pressures.tell(store, "dead", 3)
    await pressures.tell(store, "alive", 1)
    let_lapse(redis_client, "dead")
    assert pressures.fleet_level(store) == 1
    assert await pressures.levels(store) == {"alive": 1}
    pressures.tell_now(store, "alive", 1)
    assert redis_client.hkeys(pressures.KEY) == [b"alive"]


def test_it_is_forgotten_when_nobody_says_anything_any_more(
    store: Store, redis_client: redis.Redis
) -> None:
    pressures.tell_now(store, "a", 2)
    assert 0 < redis_client.pttl(pressures.KEY) <= pressures.LIVES_MS
