"""Fixtures of every test: a clock that moves when told, and an empty Redis."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from django.conf import settings

from audit import clock as steady_clock
from ratelimit import cache
from stabilizer import celery

TESTS = Path(__file__).parent
#: These prove what the embedded default promises too: `pytest -m embedded` on SQLite and Valkey.
EMBEDDED = tuple(TESTS / part for part in ("pairing", "ratelimit", "stabilizer/gate"))


def pytest_configure(config: pytest.Config) -> None:
    """Give each xdist worker a Redis database of its own, and every run a spool of its own.

    This comes after Django's set-up and before anything connects, because clients are made lazily.
    """
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        server, _, number = settings.REDIS_URL.rpartition("/")
        url = f"{server}/{int(number) + 1 + int(worker.removeprefix('gw'))}"
        os.environ["REDIS_URL"] = settings.REDIS_URL = settings.CELERY_BROKER_URL = url
        settings.CACHES["default"]["LOCATION"] = url
        celery.app.conf.broker_url = url
    # Records of tests in the spool of a real run would be shipped into its trail.
    run_dir = Path(tempfile.mkdtemp(prefix="stabilizer-tests-"))
    os.environ["RUN_DIR"] = str(run_dir)
    settings.RUN_DIR, settings.AUDIT_SPOOL_DIR = run_dir, run_dir / "spool"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(settings.RUN_DIR, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(part) for part in EMBEDDED):
            item.add_marker(pytest.mark.embedded)


class MovableClock:
    """Stands in for `audit.clock`: real time plus whatever the test advanced it by."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._timestamp = steady_clock.timestamp

    def advance(self, seconds: float) -> None:
        self.ahead_s += seconds

    def timestamp(self) -> float:
        return self._timestamp() + self.ahead_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def after(self, seconds: float) -> datetime:
        return self.now() + timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovableClock:
    movable = MovableClock()
    monkeypatch.setattr(steady_clock, "timestamp", movable.timestamp)
    monkeypatch.setattr(steady_clock, "now", movable.now)
    return movable


@pytest.fixture
def redis_client() -> Iterator[redis.Redis]:
    """The tests' Redis, emptied before use. It must be there: an absent server fails the test.

    What this process keeps of it, and of rows that are gone, is forgotten too.
    """
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    cache.reset()
    yield client
    client.close()
