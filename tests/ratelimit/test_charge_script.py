"""`lua/charge.lua` on the real server, against a model in Python."""

import time
from itertools import pairwise

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimit.gcra import SECOND_US, Charge, Limit, decide
from ratelimit.limiter import BATCH, CHARGE, packed

LIMITS = [Limit("a", 1, 3600), Limit("b", 3, 3600), Limit("c", 10, 7200), Limit("d", 100, 60)]
KEYS = {limit.name: [f"rl:{{t}}:{limit.name}{number}" for number in range(3)] for limit in LIMITS}


def decided(client: redis.Redis, requests: list[list[Charge]]) -> list[list[int]]:
    answer: bytes = CHARGE.run(client, *packed(requests))
    return [[int(number) for number in word.split(b",")] for word in answer.split()]


class Model:
    """What the limits should hold, decided request after request."""

    def __init__(self) -> None:
        self.tats: dict[str, int] = {}

    def decide(self, request: list[Charge], now: int) -> list[int]:
        looks = [
            decide(c.limit.quantity, c.limit.emission_us, self.tats.get(c.key, 0), now, c.cost)
            for c in request
        ]
        if any(look.wait_us for look in looks):
            horizons = [now + charge.limit.tolerance_us for charge in request]
            kept = [
                min(max(now, self.tats.get(charge.key, 0)), horizon)
                for charge, horizon in zip(request, horizons, strict=True)
            ]
            words = [
                number
                for tat, horizon, look in zip(kept, horizons, looks, strict=True)
                for number in (horizon - tat, look.wait_us)
            ]
            return [0, *words]
        for charge, look in zip(request, looks, strict=True):
            self.tats[charge.key] = look.tat_us
        return [1, *(look.slack_us for look in looks)]


charges = st.builds(
    lambda limit, number, cost: Charge(limit, KEYS[limit.name][number], cost),
    st.sampled_from(LIMITS),
    st.integers(0, 2),
    st.integers(-2, 4),
)
requests = st.lists(charges, min_size=1, max_size=4, unique_by=lambda charge: charge.key)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(st.lists(requests, min_size=1, max_size=12), min_size=1, max_size=4))
def test_batches_decide_as_the_model_does_one_request_after_another(
    redis_client: redis.Redis, batches: list[list[list[Charge]]]
) -> None:
    redis_client.flushdb()
    model = Model()
    unsure_us = 0
    for batch in batches:
        before = server_us(redis_client)
        answers = decided(redis_client, batch)
        # The script's clock read lies somewhere between our two looks at it.
        unsure_us += server_us(redis_client) - before
        for answer, request in zip(answers, batch, strict=True):
            expected = model.decide(request, before)
            assert [answer[0], len(answer)] == [expected[0], len(expected)]
            assert answer == pytest.approx(expected, abs=unsure_us)


def server_us(client: redis.Redis) -> int:
    seconds, microseconds = client.time()
    return int(seconds) * SECOND_US + int(microseconds)


def test_each_request_of_a_batch_sees_the_charges_before_it(redis_client: redis.Redis) -> None:
    charge = Charge(LIMITS[1], "rl:{t}:b")
    assert [answer[0] for answer in decided(redis_client, [[charge]] * 5)] == [1, 1, 1, 0, 0]


def test_a_refused_request_charges_none_of_its_keys(redis_client: redis.Redis) -> None:
    one, many = Charge(LIMITS[0], "rl:{t}:one"), Charge(LIMITS[2], "rl:{t}:many")
    decided(redis_client, [[one]])
    kept = redis_client.get("rl:{t}:one")
    assert decided(redis_client, [[many, one]])[0][0] == 0
    assert redis_client.get("rl:{t}:many") is None
    assert redis_client.get("rl:{t}:one") == kept


def test_a_refusal_tells_the_wait_of_every_limit_it_violates(redis_client: redis.Redis) -> None:
    one, three = Charge(LIMITS[0], "rl:{t}:one"), Charge(LIMITS[1], "rl:{t}:three", 3)
    decided(redis_client, [[one, three]])
    allowed, _, wait_one, _, wait_three = decided(redis_client, [[one, three]])[0]
    assert allowed == 0
    assert wait_one == pytest.approx(3600 * SECOND_US, abs=SECOND_US)
    assert wait_three == pytest.approx(3600 * SECOND_US, abs=SECOND_US)


def test_keys_lapse_when_their_tat_has_passed(redis_client: redis.Redis) -> None:
    decided(redis_client, [[Charge(LIMITS[0], "rl:{t}:one")]])
    assert 3_599_000 <= redis_client.pttl("rl:{t}:one") <= 3_600_001


def test_a_refund_of_all_removes_the_key(redis_client: redis.Redis) -> None:
    charge = Charge(LIMITS[1], "rl:{t}:b", 2)
    decided(redis_client, [[charge]])
    decided(redis_client, [[charge._replace(cost=-2)]])
    assert redis_client.exists("rl:{t}:b") == 0


def test_looking_writes_nothing(redis_client: redis.Redis) -> None:
    assert decided(redis_client, [[Charge(LIMITS[1], "rl:{t}:b", 0)]])[0] == [
        1,
        LIMITS[1].tolerance_us,
    ]
    assert redis_client.dbsize() == 0


def test_after_a_jump_of_the_clock_the_caller_waits_no_longer_than_its_window(
    redis_client: redis.Redis,
) -> None:
    limit = Limit("short", 10, 1)
    redis_client.set("rl:{t}:s", server_us(redis_client) + 3600 * SECOND_US)
    [[allowed, _, wait]] = decided(redis_client, [[Charge(limit, "rl:{t}:s")]])
    assert (allowed, wait) == (0, limit.emission_us)
    time.sleep(wait / SECOND_US)
    assert decided(redis_client, [[Charge(limit, "rl:{t}:s")]])[0][0] == 1


def test_microseconds_keep_all_their_digits(redis_client: redis.Redis) -> None:
    decided(redis_client, [[Charge(LIMITS[1], "rl:{t}:b")]])
    stored = redis_client.get("rl:{t}:b")
    assert stored is not None
    assert len(stored) == 16
    assert stored.isdigit()


def test_a_whole_batch_of_requests_with_many_limits_fits_one_call(
    redis_client: redis.Redis,
) -> None:
    limit = Limit("wide", 1000, 60_000)
    batch = [[Charge(limit, f"rl:{{t}}:{r}:{c}") for c in range(8)] for r in range(BATCH)]
    answers = decided(redis_client, batch)
    assert [answer[0] for answer in answers] == [1] * BATCH
    assert redis_client.dbsize() == 8 * BATCH


def test_quotas_shrink_by_one_with_each_charge(redis_client: redis.Redis) -> None:
    charge = Charge(LIMITS[2], "rl:{t}:c")
    slacks = [answer[1] for answer in decided(redis_client, [[charge]] * 10)]
    assert {before - after for before, after in pairwise(slacks)} == {LIMITS[2].emission_us}
