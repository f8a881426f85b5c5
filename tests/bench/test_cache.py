"""What each level of the cache costs is measured as it says: once, shortly."""

from pathlib import Path

import pytest
import redis

from bench import cache
from bench.place import Place
from ratelimit import revision
from stabilizer import demo
from tests.stabilizer import processes

pytestmark = [pytest.mark.processes, pytest.mark.alone]


@pytest.fixture
def place(transactional_db, redis_client: redis.Redis, tmp_path: Path) -> Place:
    # An earlier test may have left its keys in this process.
    revision.refresh()
    made = demo.make(subscribers=2, cards=1, password="demo-password")
    env = processes.environment(LOG_LEVEL="ERROR", API_KEY=made.api_key)
    return Place(env, tmp_path, quick=True)


def test_the_nearer_a_row_is_the_less_it_costs_and_each_is_loaded_once(place: Place) -> None:
    rows = {row.name: row.value for row in cache.rows(place)}

    levels = [rows[f"a subscriber from {level}, p50"] for level in ("this process", "Redis")]
    assert 0 < levels[0] < levels[1]
    shares = [share for name, share in rows.items() if "by Zipf" in name]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(100, abs=0.1)
    loads = next(value for name, value in rows.items() if name.startswith("queries when 64"))
    assert loads <= 1
