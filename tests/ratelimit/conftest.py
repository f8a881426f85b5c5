from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings

from ratelimit.limiter import Limiter
from ratelimit.store import Store
from tests.faults.proxy import Proxy
from tests.hand_clock import HandClock


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


class CountingStore(Store):
    """Counts the script calls of event loops."""

    calls = 0

    async def run_async(self, *args: Any) -> Any:
        self.calls += 1
        return await super().run_async(*args)


@pytest.fixture
def store(redis_client: redis.Redis) -> Iterator[CountingStore]:
    """A patient store: a machine busy with tests must not send it away while others count."""
    store = CountingStore(settings.REDIS_URL, timeout_s=2)
    yield store
    store.close()


@pytest.fixture
def limiter(store: Store) -> Limiter:
    return Limiter(store)


@pytest.fixture
def proxy(redis_client: redis.Redis) -> Iterator[Proxy]:
    place = redis_client.connection_pool.connection_kwargs
    with Proxy(place.get("path") or place["port"]) as proxy:
        yield proxy


@pytest.fixture
def far_url(proxy: Proxy, redis_client: redis.Redis) -> str:
    """Redis, behind the proxy."""
    return f"redis://127.0.0.1:{proxy.port}/{redis_client.connection_pool.connection_kwargs['db']}"


@pytest.fixture
def far_store(far_url: str) -> Iterator[Store]:
    """A patient store behind the proxy; it probes often, so that tests need not wait."""
    store = Store(far_url, probe_s=0.05, recovering_s=0.2, timeout_s=0.5)
    yield store
    store.close()
