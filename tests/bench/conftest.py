"""Where the servers of a comparison live while they are tested."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from accounts import keys
from accounts.models import Client, Plan, Scope, Tenant
from bench.place import Place
from dev.test import temporary_directory
from ratelimit import revision
from stabilizer import demo
from tests.stabilizer import processes

#: Of the demonstration, with ten smartcards each.
SUBSCRIBERS = 12


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """pytest's own directories are closed to the unprivileged user of MariaDB."""
    with temporary_directory() as directory:
        yield directory


@pytest.fixture
def operators_place(transactional_db: None, redis_client: redis.Redis, tmp_path: Path) -> Place:
    """The servers of the tests, with a tenant and the key of its operator."""
    plan = Plan.objects.create(name="operator", per_minute=60_000)
    tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
    Client.objects.create(tenant=tenant, client_id="acme-tv", name="Acme", default_for_host="*")
    key = keys.create(tenant, "bench", Scope.values)[1]
    env = processes.environment(LOG_LEVEL="ERROR", API_KEY=key)
    return Place(env, tmp_path, quick=True)


@pytest.fixture
def demo_place(transactional_db: None, redis_client: redis.Redis, tmp_path: Path) -> Place:
    """The servers of the tests, with a small demonstration."""
    # An earlier test may have left its keys in this process.
    revision.refresh()
    made = demo.make(subscribers=SUBSCRIBERS, cards=10, password="demo-password")
    revision.refresh()
    env = processes.environment(TRUSTED_PROXIES="127.0.0.1/32", LOG_LEVEL="ERROR")
    return Place(env | {"API_KEY": made.api_key}, tmp_path, quick=True)
