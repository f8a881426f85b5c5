import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from ratelimit.store import Store
from tests.faults.proxy import Proxy
from tests.stabilizer import processes
from tests.stabilizer.background.crowd import Crowd, crowd

Worker = subprocess.Popen[str]


def eventually(reached: Callable[[], Any], within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)


@pytest.fixture
def store(redis_client: redis.Redis) -> Iterator[Store]:
    store = Store(settings.REDIS_URL, timeout_s=2)
    yield store
    store.close()


@pytest.fixture
def away() -> Iterator[Store]:
    away = Store("redis://127.0.0.1:1/0")
    yield away
    away.close()


@pytest.fixture
def requests_of_the_fleet(store: Store) -> Iterator[Crowd]:
    """Some, calm, and known to Redis for as long as their lease."""
    with crowd(store, lease_s=1) as some:
        eventually(lambda: some.lease.share == some.wants)
        yield some


@pytest.fixture
def proxy(redis_client: redis.Redis) -> Iterator[Proxy]:
    place = redis_client.connection_pool.connection_kwargs
    with Proxy(place.get("path") or place["port"]) as proxy:
        yield proxy


@pytest.fixture
def far_broker(proxy: Proxy, redis_client: redis.Redis) -> str:
    """Redis, behind the proxy."""
    return f"redis://127.0.0.1:{proxy.port}/{redis_client.connection_pool.connection_kwargs['db']}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the workers have to say."""
    return tmp_path / "worker.log"


@pytest.fixture
def start_worker(redis_client: redis.Redis, log: Path) -> Iterator[Callable[..., Worker]]:
    """Starts real workers with the tasks of `work`; each is ready when it has been returned."""
    workers: list[Worker] = []

    def start(**env: str) -> Worker:
        redis_client.delete("test:ready")
        words = ["celery", "-A", "tests.stabilizer.background.work", "worker", "-l", "warning"]
        words += ["-Q", "default,audit", "--concurrency", "1"]
        words += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
        with log.open("a") as said:
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", *words],
                    env=processes.environment(**env),
                    stderr=said,
                    text=True,
                    start_new_session=True,
                )
            )
        eventually(lambda: redis_client.exists("test:ready"))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()
