import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from ratelimit import limiter as limiter_module
from ratelimit import revision
from ratelimit.gcra import Charge, Limit, Verdict
from ratelimit.limiter import BATCH, Limiter
from tests.ratelimit.conftest import CountingStore

FIVE = Charge(Limit("udid", 5, 300), "rl:{t}:udid:x")
MANY = Charge(Limit("network", 120, 60), "rl:{t}:network:x")
TEN = Charge(Limit("ten", 10, 600), "rl:{t}:ten:x")


async def test_of_100_coroutines_at_once_exactly_the_quantity_is_allowed(limiter: Limiter) -> None:
    verdicts = await asyncio.gather(*(limiter.charge([TEN]) for _ in range(100)))
    assert sum(verdict.allowed for verdict in verdicts) == 10
    assert not any(verdict.local for verdict in verdicts)


def test_of_100_threads_at_once_exactly_the_quantity_is_allowed(limiter: Limiter) -> None:
    with ThreadPoolExecutor(100) as pool:
        verdicts = list(pool.map(lambda _: limiter.charge_now([TEN]), range(100)))
    assert sum(verdict.allowed for verdict in verdicts) == 10
    assert not any(verdict.local for verdict in verdicts)


async def test_threads_and_coroutines_of_several_processes_share_one_quota(
    limiter: Limiter, store: CountingStore
) -> None:
    others = [Limiter(store) for _ in range(3)]
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(20) as pool:
        threads = [loop.run_in_executor(pool, each.charge_now, [TEN]) for each in others * 7]
        verdicts = await asyncio.gather(*threads, *(limiter.charge([TEN]) for _ in range(50)))
    assert sum(verdict.allowed for verdict in verdicts) == 10


async def test_all_that_arrive_together_go_in_one_script_call_each_hundred(
    limiter: Limiter, store: CountingStore
) -> None:
    await asyncio.gather(*(limiter.charge([MANY]) for _ in range(2 * BATCH + 1)))
    assert store.calls == 3


async def test_charges_wait_for_each_other_while_nobody_is_in_a_hurry(
    limiter: Limiter, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "GATHER_S", 0.5)

    async def come(after_s: float) -> Verdict:
        await asyncio.sleep(after_s)
        return await limiter.charge([MANY])

    limiter.unhurried = lambda: True
    verdicts = await asyncio.gather(*(come(number / 100) for number in range(10)))
    assert all(verdict.allowed for verdict in verdicts)
    assert store.calls == 1


async def test_one_in_a_hurry_takes_those_along_who_wait_for_others(
    limiter: Limiter, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "GATHER_S", 60)
    limiter.unhurried = lambda: True
    patient = [asyncio.ensure_future(limiter.charge([MANY])) for _ in range(10)]
    await asyncio.sleep(0.05)
    assert store.calls == 0

    async with asyncio.timeout(10):
        verdicts = await asyncio.gather(limiter.charge([MANY], urgent=True), *patient)
    assert all(verdict.allowed for verdict in verdicts)
    assert store.calls == 1


async def test_one_call_is_in_flight_and_what_comes_meanwhile_waits_for_the_next(
    limiter: Limiter, store: CountingStore
) -> None:
    first = asyncio.ensure_future(limiter.charge([MANY]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.ensure_future(limiter.charge([MANY])) for _ in range(20)]
    await asyncio.gather(first, *rest)
    assert store.calls == 2


async def test_a_refusal_charges_nothing_and_names_all_that_are_violated(limiter: Limiter) -> None:
    other = Charge(Limit("fingerprint", 5, 3000), "rl:{t}:fingerprint:x")
    for _ in range(5):
        assert (await limiter.charge([FIVE, other])).allowed
    verdict = await limiter.charge([FIVE, MANY, other])
    assert not verdict.allowed
    assert verdict.violated == ("udid", "fingerprint")
    assert 599 < verdict.retry_after_s <= 600
    assert [quota.remaining for quota in verdict.quotas] == [0, 120, 0]
    assert (await limiter.charge([MANY])).quotas[0].remaining == 119


async def test_the_retry_time_is_exact(limiter: Limiter) -> None:
    charge = Charge(Limit("quick", 2, 1), "rl:{t}:quick")
    await asyncio.gather(*(limiter.charge([charge]) for _ in range(2)))
    sent = time.monotonic()
    refused = await limiter.charge([charge])
    answered = time.monotonic()
    assert 0 < refused.retry_after_s <= 0.5
    # Seen by another process, which knows nothing of the refusal: not before, and not long after.
    other = Limiter(limiter.store)
    asked = [time.monotonic()]
    while not (await other.charge([charge])).allowed:
        await asyncio.sleep(0.001)
        asked.append(time.monotonic())
    assert sent + refused.retry_after_s <= time.monotonic()
    assert all(refused_at <= answered + refused.retry_after_s for refused_at in asked[:-1])


async def test_a_refund_gives_the_charge_back(limiter: Limiter) -> None:
    for _ in range(5):
        await limiter.charge([FIVE, MANY])
    await limiter.refund([FIVE, MANY])
    verdict = await limiter.charge([FIVE, MANY])
    assert verdict.allowed
    assert [quota.remaining for quota in verdict.quotas] == [0, 115]


def test_a_refund_from_a_thread_gives_the_charge_back(limiter: Limiter) -> None:
    assert limiter.charge_now([FIVE._replace(cost=5)]).allowed
    assert not limiter.charge_now([FIVE]).allowed
    limiter.refund_now([FIVE])
    assert limiter.recall([FIVE]) is None
    assert limiter.charge_now([FIVE]).allowed


async def test_looking_tells_what_is_left_and_takes_nothing(limiter: Limiter) -> None:
    await limiter.charge([FIVE])
    for _ in range(2):
        verdict = await limiter.charge([FIVE._replace(cost=0)])
        assert verdict.quotas[0].remaining == 4


async def test_no_charges_are_allowed_without_asking(limiter: Limiter) -> None:
    assert await limiter.charge([]) == Verdict(True, ())
    assert limiter.charge_now([]) == Verdict(True, ())


async def test_a_refusal_is_recalled_without_asking_until_its_time(limiter: Limiter) -> None:
    assert limiter.recall([FIVE]) is None
    await asyncio.gather(*(limiter.charge([FIVE]) for _ in range(6)))
    known = limiter.recall([MANY, FIVE])
    assert known is not None
    assert (known.allowed, known.violated) == (False, ("udid",))
    assert 59 < known.retry_after_s <= 60


async def test_a_caller_who_left_does_not_disturb_the_others_of_its_batch(limiter: Limiter) -> None:
    gone = asyncio.ensure_future(limiter.charge([TEN]))
    others = [asyncio.ensure_future(limiter.charge([TEN])) for _ in range(3)]
    await asyncio.sleep(0)
    gone.cancel()
    assert all(verdict.allowed for verdict in await asyncio.gather(*others))


async def test_a_mistake_of_ours_reaches_the_caller_and_the_next_are_decided(
    limiter: Limiter, redis_client: redis.Redis
) -> None:
    redis_client.set("rl:{t}:bad", "no number")
    bad = TEN._replace(key="rl:{t}:bad")
    with pytest.raises(redis.ResponseError):
        await limiter.charge([bad])
    assert (await limiter.charge([TEN])).allowed


async def test_scripts_flushed_from_the_server_are_sent_again(
    limiter: Limiter, redis_client: redis.Redis
) -> None:
    await limiter.charge([TEN])
    redis_client.script_flush()
    verdict = await limiter.charge([TEN])
    redis_client.script_flush()
    assert [verdict.local, limiter.charge_now([TEN]).quotas[0].remaining] == [False, 7]


def test_each_event_loop_has_its_own_connection(limiter: Limiter) -> None:
    async def charge_all() -> int:
        verdicts = await asyncio.gather(*(limiter.charge([TEN]) for _ in range(4)))
        return sum(verdict.allowed and not verdict.local for verdict in verdicts)

    assert [asyncio.run(charge_all()) for _ in range(3)] == [4, 4, 2]


@pytest.mark.usefixtures("redis_client")
def test_a_process_has_one_limiter_and_a_change_of_policies_clears_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limiter_module, "_shared", None)
    monkeypatch.setattr(revision, "_callbacks", [])
    mine = limiter_module.shared()
    assert limiter_module.shared() is mine
    mine.refusals.remember(FIVE, 60)
    revision.refresh()
    assert mine.recall([FIVE]) is None


async def test_what_only_counts_goes_in_the_same_call_and_is_decided_by_itself(
    limiter: Limiter, store: CountingStore
) -> None:
    shadow = Charge(Limit("udid", 2, 300), "rl:{t}:udid~1:x")
    pairs = [await limiter.charge_beside([FIVE], [shadow]) for _ in range(6)]
    assert [enforced.allowed for enforced, _ in pairs] == [True] * 5 + [False]
    assert [counted.allowed for _, counted in pairs] == [True] * 2 + [False] * 4
    assert store.calls == 6


def test_what_only_counts_goes_in_the_same_call_from_a_thread(limiter: Limiter) -> None:
    shadow = Charge(Limit("udid", 2, 300), "rl:{t}:udid~1:x")
    pairs = [limiter.charge_beside_now([FIVE], [shadow]) for _ in range(3)]
    assert [counted.allowed for _, counted in pairs] == [True, True, False]
    assert all(enforced.allowed for enforced, _ in pairs)
    assert limiter.charge_beside_now([], []) == (Verdict(True, ()), Verdict(True, ()))
