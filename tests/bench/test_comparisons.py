"""The comparisons measure what they say: once, shortly, and on the tests' own servers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import redis

from bench import (
    admission,
    doors,
    fairness,
    goodput,
    herd,
    mix,
    refusals,
    saturation,
    store,
)
from bench.contestants import CONTESTANTS, DEADLINE_S, OURS
from bench.doors import Door
from bench.place import MeasureFailed, Place
from bench.redis_usage import Usage
from dev import servers
from tests.stabilizer import processes

pytestmark = pytest.mark.processes

GET = b"GET /query HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def redis_url(open_directory: Path) -> Iterator[str]:
    """A Redis that nobody else asks: what it has done is counted."""
    with servers.start_redis(open_directory / "redis") as server:
        yield server.url


@pytest.fixture
def own_redis(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def place(transactional_db, own_redis: redis.Redis, redis_url: str, tmp_path: Path) -> Place:
    env = processes.environment(
        TRUSTED_PROXIES="127.0.0.1/32", LOG_LEVEL="ERROR", REDIS_URL=redis_url
    )
    return Place(env, tmp_path, quick=True)


def test_a_process_that_fails_says_why(place: Place) -> None:
    with pytest.raises(MeasureFailed, match="'rounds'"):
        place.told("bench.cost", {})


def test_the_gate_costs_less_than_any_peer(place: Place) -> None:
    rows = list(admission.rows(place))

    assert len(rows) == 4
    assert all(0 < row.value < 1 for row in rows[1:])
    assert [row.goal is not None for row in rows] == [True, True, False, False]


# The other doors open in the test of the contestants.
@pytest.mark.parametrize(
    "start",
    [
        lambda place: doors.granian("pooled", "asgi", place),
        lambda place: doors.gunicorn("wsgi", place),
    ],
    ids=["granian", "gunicorn"],
)
def test_every_door_answers_and_its_processor_time_is_seen(
    place: Place, start: Callable[[Place], AbstractContextManager[Door]]
) -> None:
    with start(place) as door:
        before_s = door.cpu_s
        load = saturation.load(place, door.port, [GET], clients=4, load_s=0.3)

        assert set(load.answers) == {"200"}
        assert load.errors == 0
        assert 0 < door.cpu_s - before_s < 10


def test_a_server_that_does_not_start_says_why(place: Place) -> None:
    with pytest.raises(doors.NotStarted, match="nowhere"), doors.uvicorn("nowhere", place):
        pass


def test_strangers_are_refused_by_redis_and_then_from_memory(
    place: Place, own_redis: redis.Redis
) -> None:
    strangers = refusals.Loads(place).strangers(20)
    with doors.uvicorn("gate", place) as gate:

        def ask() -> tuple[dict[str, int], int]:
            before = Usage.of(own_redis)
            load = saturation.load(place, gate.port, strangers, clients=20, load_s=0)
            return load.answers, (Usage.of(own_redis) - before).charges

        first, charges = ask()
        again, none = ask()

    assert first == again == {"429": 20}
    assert charges >= 1
    assert none == 0


def test_redis_is_asked_less_often_than_requests_are_admitted(place: Place) -> None:
    rows = {row.name: row for row in store.admitted(place)}

    assert 0 < rows["calls of Redis per admitted request, 64 in flight"].value < 1
    assert len(rows) == 3


def test_slot_calls_grow_with_processes(place: Place) -> None:
    *_, fleet = store.leases(place)

    assert 4 < fleet.value < 64


def test_an_identity_takes_some_hundred_bytes_of_redis(place: Place) -> None:
    assert 100 < store.memory(place).value < 1_000


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_serves_what_it_has_capacity_for(place: Place, name: str) -> None:
    offered = goodput.offered(place, CONTESTANTS[name], rate=10, per_s=100)
    outcome = offered.outcomes[goodput.ALL]

    assert set(outcome.answers) == {"200"}
    assert outcome.goodput == outcome.arrived / place.load_s
    assert 0 < outcome.p50_s <= outcome.p95_s < DEADLINE_S


@pytest.mark.alone
def test_what_is_critical_is_served_before_the_rest(place: Place) -> None:
    # More than any machine of today serves; the critical ones alone are less than most do.
    offered = mix.offered(place, CONTESTANTS[OURS], rate=300, per_s=100)
    critical, normal, sheddable = (offered.outcomes[sort].success for sort in mix.MIX)

    assert critical > 0.9
    assert critical > normal >= sheddable


@pytest.mark.alone
def test_others_have_their_share_beside_one_that_floods(place: Place) -> None:
    keys = place.told("bench.tenants", fairness.OTHERS + 1)
    flood = fairness.floods(keys)["a tenant"]

    # As if it could serve so many: four of ten are the others'.
    assert fairness.goodput(place, flood.others(100), flood.flood(100)) >= 0.8 * 40


def test_a_crowd_returns_until_all_are_served(place: Place) -> None:
    seen = herd.run(place, "gated", 300)

    assert (sum(seen.crowd.served), seen.crowd.unserved, seen.crowd.errors) == (300, 0, 0)
    assert sum(seen.crowd.asked) >= 300
