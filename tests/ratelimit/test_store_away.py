"""Redis hangs, refuses, is slow, loses a reply, returns: what that costs, what holds meanwhile."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis._parsers.base import BaseParser

from ratelimit.gcra import Charge, Limit
from ratelimit.health import Mode
from ratelimit.limiter import Limiter
from ratelimit.pace import TIMEOUT_S
from ratelimit.store import Store, StoreAway
from tests.faults.proxy import Proxy

TEN = Charge(Limit("ten", 10, 600), "rl:{t}:ten:x")
#: What a busy machine may add to a time-out.
SLACK_S = 0.05
FAULTS: list[Callable[[Proxy], None]] = [
    Proxy.hang,
    Proxy.refuse,
    Proxy.lose_replies,
    lambda proxy: proxy.slow_down(0.8),
]
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=["hung", "refused", "mute", "slow"])


def eventually(what: Callable[[], bool], within_s: float = 5) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def quickest(measure: Callable[[], float], below_s: float) -> float:
    """The best of five measurements: a busy machine can only lengthen one."""
    best = measure()
    for _ in range(4):
        if best < below_s:
            break
        best = min(best, measure())
    return best


def limiter_of(store: Store) -> Limiter:
    limiter = Limiter(store)
    assert not limiter.charge_now([TEN]).local
    return limiter


@pytest.fixture
def far(far_store: Store) -> Limiter:
    return limiter_of(far_store)


@pytest.fixture
def brisk(far_url: str) -> Iterator[Limiter]:
    """A limiter with the time-outs of production."""
    store = Store(far_url, probe_s=0.05, recovering_s=0.2)
    limiter = Limiter(store)
    eventually(lambda: not limiter.charge_now([TEN]).local)
    yield limiter
    store.close()


def sound_again(limiter: Limiter, proxy: Proxy) -> None:
    """Back to the beginning, for one more measurement."""
    proxy.heal()
    eventually(lambda: limiter.store.mode is Mode.HEALTHY)
    eventually(lambda: not limiter.charge_now([TEN._replace(cost=0)]).local)


@each_fault
def test_a_thread_waits_once_and_the_next_do_not_wait(
    brisk: Limiter, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    def waited_s() -> float:
        sound_again(brisk, proxy)
        fault(proxy)
        began = time.monotonic()
        assert brisk.charge_now([TEN._replace(cost=0)]).local
        first = time.monotonic() - began
        assert all(brisk.charge_now([TEN._replace(cost=0)]).local for _ in range(100))
        rest = time.monotonic() - began - first
        eventually(lambda: brisk.store.mode is Mode.LOCAL)
        return max(first, rest)

    longest = TIMEOUT_S + SLACK_S
    assert quickest(waited_s, longest) < longest


@each_fault
def test_a_thousand_coroutines_wait_once_all_together(
    brisk: Limiter, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    charges = [TEN._replace(key=f"rl:{{t}}:{number}") for number in range(1000)]

    async def charge_all() -> float:
        began = time.monotonic()
        verdicts = await asyncio.gather(*(brisk.charge([charge]) for charge in charges))
        assert all(verdict.allowed and verdict.local for verdict in verdicts)
        return time.monotonic() - began

    async def waited_s() -> float:
        await brisk.charge([TEN._replace(cost=0)])
        fault(proxy)
        # The second time nobody waits: what that takes is the work itself.
        return await charge_all() - await charge_all()

    def measure() -> float:
        sound_again(brisk, proxy)
        return asyncio.run(waited_s())

    longest = TIMEOUT_S + SLACK_S
    assert quickest(measure, longest) < longest


@each_fault
def test_many_threads_at_once_wait_once_each(
    brisk: Limiter, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    start = threading.Barrier(20)

    def charge(_: int) -> float:
        start.wait()
        began = time.monotonic()
        assert brisk.charge_now([TEN._replace(cost=0)]).local
        return time.monotonic() - began

    def longest_wait_s() -> float:
        sound_again(brisk, proxy)
        fault(proxy)
        return max(pool.map(charge, range(20)))

    longest = TIMEOUT_S + 2 * SLACK_S
    with ThreadPoolExecutor(20) as pool:
        assert quickest(longest_wait_s, longest) < longest


def test_a_store_that_answers_in_30_ms_is_soon_asked_no_more(brisk: Limiter, proxy: Proxy) -> None:
    proxy.slow_down(0.03)
    asked = 0
    while brisk.store.mode is not Mode.LOCAL:
        asked += not brisk.charge_now([TEN]).local
        assert asked < 20


async def test_an_event_loop_that_is_busy_is_not_taken_for_a_slow_store(far: Limiter) -> None:
    await far.charge([TEN])
    for _ in range(5):
        charge = asyncio.ensure_future(far.charge([TEN._replace(cost=0)]))
        await asyncio.sleep(0.0005)
        time.sleep(0.08)  # noqa: ASYNC251  the loop is kept from its sockets for that long
        assert not (await charge).local
    assert far.store.mode is Mode.HEALTHY


def test_busy_threads_are_not_taken_for_a_slow_store(limiter: Limiter) -> None:
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=spin) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert not any(limiter.charge_now([TEN]).local for _ in range(10))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert limiter.store.mode is Mode.HEALTHY


async def test_a_charge_whose_answer_was_lost_is_made_once_and_counts_locally(
    far: Limiter, proxy: Proxy, limiter: Limiter
) -> None:
    assert (await far.charge([TEN])).quotas[0].remaining == 8
    proxy.lose_replies()
    lost = await far.charge([TEN])
    assert (lost.allowed, lost.local, lost.quotas[0].remaining) == (True, True, 7)
    assert limiter.charge_now([TEN._replace(cost=0)]).quotas[0].remaining == 7


def test_a_thread_whose_answer_was_lost_does_not_retry(
    far: Limiter, proxy: Proxy, limiter: Limiter
) -> None:
    proxy.lose_replies()
    assert far.charge_now([TEN]).local
    assert limiter.charge_now([TEN._replace(cost=0)]).quotas[0].remaining == 8


def test_while_redis_is_away_the_share_that_redis_left_is_what_remains(
    far: Limiter, proxy: Proxy
) -> None:
    far.store.processes = 2
    for _ in range(2):
        far.charge_now([TEN])
    proxy.hang()
    verdicts = [far.charge_now([TEN]) for _ in range(10)]
    # Three of this process's five were taken while Redis decided; the first as one process alone.
    assert sum(verdict.allowed for verdict in verdicts) in (2, 3)
    assert verdicts[-1].violated == ("ten",)


def test_nothing_is_sent_while_the_store_is_away_but_a_probe(far_url: str, proxy: Proxy) -> None:
    store = Store(far_url, probe_s=60)
    limiter = Limiter(store)
    limiter.charge_now([TEN])
    proxy.refuse()
    limiter.charge_now([TEN])
    eventually(lambda: store.mode is Mode.LOCAL)
    proxy.heal()
    sent = proxy.connections
    for _ in range(20):
        assert limiter.charge_now([TEN._replace(cost=0)]).local
    assert proxy.connections == sent
    store.close()


@each_fault
def test_when_redis_returns_the_stricter_of_both_holds_for_one_window(
    far: Limiter, proxy: Proxy, redis_client: redis.Redis, fault: Callable[[Proxy], None]
) -> None:
    fault(proxy)
    far.charge_now([TEN])
    eventually(lambda: far.store.mode is Mode.LOCAL)
    redis_client.flushdb()
    proxy.heal()
    eventually(lambda: far.store.mode in (Mode.RECOVERING, Mode.HEALTHY))
    verdicts = [far.charge_now([TEN]) for _ in range(20)]
    # Redis has forgotten the two that were charged before; the process has not.
    assert sum(verdict.allowed for verdict in verdicts) == 8
    assert not verdicts[0].local
    eventually(lambda: far.store.mode is Mode.HEALTHY)


@each_fault
def test_a_store_that_goes_again_while_it_recovers_is_left_alone_again(
    far_url: str, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    store = Store(far_url, probe_s=0.05)
    limiter = limiter_of(store)
    for _ in range(2):
        fault(proxy)
        eventually(
            lambda: limiter.charge_now([TEN._replace(cost=0)]).local and store.mode is Mode.LOCAL
        )
        proxy.heal()
        eventually(lambda: store.mode is Mode.RECOVERING)
    store.close()


def test_connections_cut_by_the_server_cost_nothing_but_a_new_connection(
    far: Limiter, proxy: Proxy
) -> None:
    for _ in range(5):
        proxy.cut()
        assert not far.charge_now([TEN._replace(cost=0)]).local


@pytest.mark.parametrize(
    "reply",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script.",
    ],
)
def test_a_server_that_cannot_do_its_work_counts_as_away(store: Store, reply: str) -> None:
    def answer(_: redis.Redis) -> None:
        raise BaseParser.parse_error(reply)

    with pytest.raises(StoreAway):
        store.call(answer)
    assert store.mode is not Mode.HEALTHY or store.health.asks


def test_a_mistake_of_ours_is_not_blamed_on_the_store(store: Store) -> None:
    with pytest.raises(redis.ResponseError):
        store.call(lambda client: client.execute_command("NOSUCHCOMMAND"))
    assert store.mode is Mode.HEALTHY


def test_calls_are_refused_at_once_while_the_store_is_away(far: Limiter, proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(StoreAway) as lost:
        far.store.call(lambda client: client.ping())
    with pytest.raises(StoreAway) as unasked:
        far.store.call(lambda client: client.ping())
    assert (lost.value.asked, unasked.value.asked) == (True, False)
