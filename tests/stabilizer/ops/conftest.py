from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings

from audit.floods import Floods
from ratelimit.limiter import Limiter
from ratelimit.store import Store
from stabilizer.gate.control import Control
from stabilizer.health import Readiness
from stabilizer.ops.collector import Collector
from stabilizer.ops.depths import Depths
from tests.stabilizer.gate import conftest as gate

policies_in_force, gates, limiter = gate.policies_in_force, gate.gates, gate.limiter
app, hand = gate.app, gate.hand


async def fine() -> None:
    pass


async def no_gauges(self: Depths) -> dict[str, float | None]:
    return {"database": 1.0}


@pytest.fixture
def store(redis_client: redis.Redis) -> Iterator[Store]:
    store = Store(settings.REDIS_URL, timeout_s=2)
    yield store
    store.close()


@pytest.fixture
def quiet_depths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trail, the queues and the locks are asked nothing."""
    monkeypatch.setattr(Depths, "gauges", no_gauges)


@pytest.fixture
async def collectors(quiet_depths: None) -> AsyncIterator[Callable[..., Collector]]:
    """Makes the collector of a process of its own; its seconds pass by `tick`."""
    made: list[Collector] = []

    def make(store: Store, **options: Any) -> Collector:
        control = Control(Limiter(store), configure=lambda: None, trail=Floods())
        collector = Collector(
            control, Readiness({"redis": fine}, frozenset()), store=store, **options
        )
        made.append(collector)
        return collector

    yield make
    for collector in made:
        await collector.stop()
        await collector._depths.close()
