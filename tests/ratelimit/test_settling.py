"""After a moment without Redis nobody is worse off than before, and nothing was given away."""

import time
from collections.abc import Callable

import pytest
import redis

from ratelimit import settling
from ratelimit.gcra import Charge, Limit
from ratelimit.health import Mode
from ratelimit.limiter import Limiter
from ratelimit.settling import MARK_KEY
from ratelimit.store import Store
from tests.faults.proxy import Proxy

FIVE = Charge(Limit("five", 5, 300), "rl:{t}:five:x")


def eventually(what: Callable[[], bool], within_s: float = 5) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are none, who would have to be waited for."""
    monkeypatch.setattr(settling, "OTHERS_S", 0)


@pytest.fixture
def far(far_store: Store) -> Limiter:
    """One of four processes, in Redis' good memory."""
    limiter = Limiter(far_store)
    far_store.processes = 4
    limiter.settling.look()
    return limiter


def away(limiter: Limiter, proxy: Proxy) -> None:
    proxy.refuse()
    limiter.charge_now([FIVE._replace(key="rl:{t}:five:other", cost=0)])
    eventually(lambda: limiter.store.mode is Mode.LOCAL)


def back(limiter: Limiter, proxy: Proxy) -> None:
    proxy.heal()
    eventually(lambda: limiter.store.mode in (Mode.RECOVERING, Mode.HEALTHY))


def test_who_asked_twice_of_one_process_is_not_held_to_its_share_afterwards(
    far: Limiter, proxy: Proxy
) -> None:
    assert far.charge_now([FIVE]).allowed
    away(far, proxy)
    # Of five in five minutes the share of one process of four is one, and that was taken.
    assert not far.charge_now([FIVE]).allowed
    back(far, proxy)
    eventually(lambda: far.settling.is_done)
    assert sum(far.charge_now([FIVE]).allowed for _ in range(10)) == 4


def test_until_other_processes_have_found_it_too_the_share_binds(
    far: Limiter, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "OTHERS_S", 0.5)
    assert far.charge_now([FIVE]).allowed
    away(far, proxy)
    back(far, proxy)
    refused = [far.charge_now([FIVE]) for _ in range(3)]
    assert [(each.allowed, each.retry_after_s) for each in refused] == [(False, 10)] * 3
    eventually(lambda: far.settling.is_done)
    assert far.charge_now([FIVE]).allowed


def test_a_store_that_went_while_its_probes_were_answered_is_settled_with_as_well(
    far: Limiter, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered_while_others_fail() -> bool:
        far.store.health.failed()
        far.store.health.failed()
        proxy.heal()
        return True

    monkeypatch.setattr(far.store, "_deserves_trust", answered_while_others_fail)
    proxy.refuse()
    assert far.charge_now([FIVE]).local
    eventually(lambda: far.settling.is_done)
    assert far.charge_now([FIVE._replace(cost=0)]).quotas[0].remaining == 4


def test_what_was_charged_without_redis_is_charged_there_when_it_is_back(
    far: Limiter, proxy: Proxy, limiter: Limiter
) -> None:
    away(far, proxy)
    assert far.charge_now([FIVE]).local
    back(far, proxy)
    eventually(lambda: far.settling.is_done)
    # As another process sees it.
    assert limiter.charge_now([FIVE._replace(cost=0)]).quotas[0].remaining == 4


def test_many_who_were_served_meanwhile_are_all_charged(
    far: Limiter, proxy: Proxy, limiter: Limiter
) -> None:
    away(far, proxy)
    many = [FIVE._replace(key=f"rl:{{t}}:five:{number}") for number in range(250)]
    assert all(far.charge_now([each]).allowed for each in many)
    back(far, proxy)
    eventually(lambda: far.settling.is_done)
    left = {limiter.charge_now([each._replace(cost=0)]).quotas[0].remaining for each in many}
    assert left == {4}


@pytest.mark.parametrize("refilled", [True, False])
def test_a_redis_that_has_forgotten_is_not_believed(
    far: Limiter, proxy: Proxy, redis_client: redis.Redis, refilled: bool
) -> None:
    assert far.charge_now([FIVE]).allowed
    away(far, proxy)
    redis_client.flushdb()
    if refilled:
        # Another process has found it back before this one.
        redis_client.set(MARK_KEY, "of another")
    back(far, proxy)
    assert not any(far.charge_now([FIVE]).allowed for _ in range(10))
    assert not far.settling.is_done


def test_a_process_that_has_never_seen_redis_believes_its_share(
    far_store: Store, proxy: Proxy
) -> None:
    limiter = Limiter(far_store)
    far_store.processes = 4
    away(limiter, proxy)
    assert limiter.charge_now([FIVE]).allowed
    back(limiter, proxy)
    assert not any(limiter.charge_now([FIVE]).allowed for _ in range(10))


def test_what_could_not_be_told_is_told_at_the_next_return(
    far: Limiter, proxy: Proxy, limiter: Limiter
) -> None:
    away(far, proxy)
    assert far.charge_now([FIVE]).allowed
    # Gone again before it was told.
    far.settling.settle()
    back(far, proxy)
    eventually(lambda: far.settling.is_done)
    assert limiter.charge_now([FIVE._replace(cost=0)]).quotas[0].remaining == 4


def test_a_mistake_in_what_follows_a_return_does_not_end_the_probing(
    far: Limiter, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    far.store.on_return = lambda: 1 // 0
    for _ in range(2):
        away(far, proxy)
        back(far, proxy)
        eventually(lambda: far.store.mode is Mode.HEALTHY)
    assert caplog.text.count("ZeroDivisionError") == 2


def test_while_redis_is_in_doubt_nothing_is_learned_of_it(
    far: Limiter, proxy: Proxy, redis_client: redis.Redis
) -> None:
    away(far, proxy)
    redis_client.set(MARK_KEY, "of another")
    far.settling.look()
    back(far, proxy)
    assert not any(far.settling.is_done for _ in range(3))
