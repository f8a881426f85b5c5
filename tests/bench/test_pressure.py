"""Every step under pressure is measured beside the full answer, once and shortly."""

from pathlib import Path

import pytest
import redis

from accounts import keys
from accounts.models import Client, Plan, Scope, Tenant
from bench import pressure
from bench.place import Place
from ratelimit import flags
from tests.stabilizer import processes

pytestmark = pytest.mark.processes


@pytest.fixture
def place(transactional_db, redis_client: redis.Redis, tmp_path: Path) -> Place:
    plan = Plan.objects.create(name="operator", per_minute=60_000)
    tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
    Client.objects.create(tenant=tenant, client_id="acme-tv", name="Acme", default_for_host="*")
    key = keys.create(tenant, "bench", Scope.values)[1]
    env = processes.environment(LOG_LEVEL="ERROR", API_KEY=key)
    return Place(env, tmp_path, quick=True)


def test_each_step_of_an_answer_has_its_time_and_its_processor_time(place: Place) -> None:
    rows = list(pressure.rows(place))

    measured = {row.name.partition(":")[0] for row in rows}
    refusing = {flags.SHEDDABLE_REFUSED.name, flags.ONLY_CRITICAL.name}
    assert measured == flags.BY_NAME.keys() - refusing
    assert len(rows) == 2 * len(measured)
    assert all(row.value > 0 for row in rows)
    # A refused search and a copy ask nothing: even so shortly that can be seen.
    by_name = {row.name.partition(":")[0]: row.value for row in rows if "time" in row.name}
    assert by_name["search_off"] < 1
    assert by_name["lists_stale"] < 1
