"""Counters of many processes as one: exact, each batch once, and never falling."""

import random
from bisect import bisect_left
from itertools import chain

import pytest

from ratelimit.store import StoreAway
from stabilizer.gate.observer import BOUNDS
from stabilizer.ops import totals

ANSWERED = ("requests", "pairing.status", "answered")


async def test_processes_add_up(store):
    await totals.report(store, "a", 1, {}, {ANSWERED: 3, ("duration", "normal", 7): 3})
    await totals.report(store, "b", 1, {}, {ANSWERED: 4, ("duration", "normal", 8): 4})
    assert await totals.read(store) == {
        ANSWERED: 7,
        ("duration", "normal", 7): 3,
        ("duration", "normal", 8): 4,
    }


async def test_a_batch_that_comes_twice_counts_once(store):
    for _ in range(2):
        await totals.report(store, "a", 1, {}, {ANSWERED: 3})
    assert (await totals.read(store))[ANSWERED] == 3
    await totals.report(store, "a", 2, {}, {ANSWERED: 3})
    assert (await totals.read(store))[ANSWERED] == 6


async def test_totals_do_not_fall_when_a_process_is_forgotten(store):
    receipt = await totals.report(store, "killed", 1, {"role": "web"}, {ANSWERED: 3})
    await totals.report(store, "alive", 1, {"role": "web"}, {ANSWERED: 1})
    later_ms = receipt.now_ms + totals.FORGET_MS + 60_000
    assert await totals.words(store, later_ms) == {}
    assert set(await totals.words(store, receipt.now_ms)) == set()
    assert (await totals.read(store))[ANSWERED] == 4


async def test_one_process_collects_until_its_lease_lapses(store, redis_client):
    first = await totals.report(store, "a", 1, {}, {})
    second = await totals.report(store, "b", 1, {}, {})
    assert (first.collects, second.collects) == (True, False)
    assert (await totals.report(store, "a", 2, {}, {})).collects
    redis_client.delete(totals.COLLECTOR)
    assert (await totals.report(store, "b", 2, {}, {})).collects


async def test_no_key_grows_with_those_who_ask_and_all_of_them_end(store, redis_client):
    await totals.report(store, "a", 1, {}, {ANSWERED: 1})
    assert {redis_client.ttl(key) > 0 for key in redis_client.keys("ops:*")} == {True}


async def test_a_store_that_is_away_says_so():
    from ratelimit.store import Store

    away = Store("redis://127.0.0.1:1/0")
    with pytest.raises(StoreAway):
        await totals.report(away, "a", 1, {}, {})
    away.close()


def test_what_was_counted_between_two_readings():
    before = {ANSWERED: 5, ("arrived",): 9}
    assert totals.since({ANSWERED: 8, ("arrived",): 9}, before) == {ANSWERED: 3}
    # Redis was emptied: what is there now came since.
    assert totals.since({ANSWERED: 2}, before) == {ANSWERED: 2}


@pytest.mark.parametrize("part", [0.5, 0.95, 0.99])
def test_a_quantile_of_merged_histograms_is_within_a_bucket_of_the_true_one(part):
    chance = random.Random(7)
    latencies = [[chance.lognormvariate(-3, 1) for _ in range(2_000)] for _ in range(3)]
    counts = [
        totals.added(*({("duration", "normal", bisect_left(BOUNDS, s)): 1} for s in each))
        for each in latencies
    ]
    merged = totals.buckets(totals.added(*counts), "duration", "normal")
    together = sorted(chain(*latencies))
    true = together[round(part * len(together)) - 1]
    assert totals.quantile(merged, part) == pytest.approx(true, rel=0.13)


def test_a_quantile_of_nothing_is_not_known():
    assert totals.quantile({}, 0.5) is None
    assert totals.quantile({len(BOUNDS): 2}, 0.5) == BOUNDS[-1]


def test_a_key_survives_its_field():
    for key in (ANSWERED, ("duration", "normal", 12), ("wait_us",)):
        assert totals.decode(totals.encode(key)) == key
