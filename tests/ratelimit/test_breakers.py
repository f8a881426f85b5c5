"""The breakers of three processes, as far as they can be told by three stores."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from django.conf import settings

from ratelimit.breakers import CLAIM_MS, CLOSE, KEPT_MS, LOOK, OPEN, Board, Record, Word, key
from ratelimit.store import Store
from stabilizer.gate.breaker import LEAST_CALLS, READS, WRITES, Breaker, Call, Shared, State
from tests.faults.proxy import Proxy
from tests.hand_clock import HandClock


class Process:
    """One process's breakers. Its own clock moves by hand; Redis's does not."""

    def __init__(self, store: Store, hand: HandClock) -> None:
        self.reads = Breaker(READS, hand, chance=lambda: 0)
        self.writes = Breaker(WRITES, hand, chance=lambda: 0)
        self.shared = Shared(store, [self.reads, self.writes], clock=hand)

    def fail(self) -> None:
        for _ in range(LEAST_CALLS):
            call = self.reads.began()
            assert call is not None
            self.reads.ended(call, ok=False)


@pytest.fixture
def processes(redis_client: redis.Redis, hand: HandClock) -> Iterator[list[Process]]:
    stores = [Store(settings.REDIS_URL, timeout_s=2) for _ in range(3)]
    yield [Process(store, hand) for store in stores]
    for store in stores:
        store.close()


async def look(processes: list[Process], hand: HandClock, seconds: float = 0.7) -> None:
    """So long the news takes: a tick until it is told, and half a second until it is asked for."""
    for _ in range(round(seconds / 0.1)):
        for process in processes:
            await process.shared.look()
        hand.advance(0.1)


def states(processes: list[Process]) -> list[State]:
    return [process.reads.state for process in processes]


def let_it_be_due(redis_client: redis.Redis, hand: HandClock) -> None:
    """Redis's clock cannot be moved, but what it waits for can."""
    failures = redis_client.get(key(READS)).split()[0].decode()
    redis_client.set(key(READS), f"{failures} 0")
    hand.advance(60)


async def eventually(what: Callable[[], bool], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.005)


async def test_what_one_process_finds_all_know_within_a_second(
    processes: list[Process], hand: HandClock
) -> None:
    await look(processes, hand)
    processes[0].fail()
    await look(processes, hand)
    assert states(processes) == [State.OPEN] * 3
    assert [process.reads.admits() for process in processes] == [False] * 3
    assert [process.writes.admits() for process in processes] == [True] * 3


async def test_of_all_processes_one_sends_the_probe_and_its_success_closes_for_all(
    processes: list[Process], hand: HandClock, redis_client: redis.Redis
) -> None:
    processes[0].fail()
    await look(processes, hand)
    let_it_be_due(redis_client, hand)
    begun = [process.reads.began() for process in processes]
    (sent,) = [at for at, call in enumerate(begun) if call]
    assert [process.reads.began() for process in processes] == [None] * 3
    processes[sent].reads.ended(begun[sent], ok=True)
    await look(processes, hand)
    assert states(processes) == [State.CLOSED] * 3
    assert redis_client.keys("rl:{-}:breaker:*") == []


async def test_threads_of_all_processes_that_try_together_send_one_probe(
    processes: list[Process], hand: HandClock, redis_client: redis.Redis
) -> None:
    processes[0].fail()
    await look(processes, hand)
    let_it_be_due(redis_client, hand)
    together, begun = threading.Barrier(12), list[Call | None]()

    def try_it(breaker: Breaker) -> None:
        together.wait()
        begun.append(breaker.began())

    threads = [
        threading.Thread(target=try_it, args=[process.reads])
        for process in processes
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(begun) == 12
    assert len([call for call in begun if call]) == 1


async def test_a_probe_that_fails_keeps_all_away_for_longer(
    processes: list[Process], hand: HandClock, redis_client: redis.Redis
) -> None:
    processes[0].fail()
    await look(processes, hand)
    let_it_be_due(redis_client, hand)
    probe = processes[1].reads.began()
    assert probe is not None
    processes[1].reads.ended(probe, ok=False)
    await look(processes, hand)
    assert [process.reads.failures for process in processes] == [1, 1, 1]
    assert all(1 < process.reads.retry_after_s <= 2 for process in processes)


async def test_the_probe_of_a_process_that_died_is_anothers_after_two_seconds(
    processes: list[Process], hand: HandClock, redis_client: redis.Redis
) -> None:
    processes[0].fail()
    await look(processes, hand)
    let_it_be_due(redis_client, hand)
    assert processes[0].reads.began()
    assert processes[1].reads.began() is None
    assert processes[1].reads.retry_after_s == pytest.approx(CLAIM_MS / 1000, abs=1)
    let_it_be_due(redis_client, hand)
    assert processes[1].reads.began()


async def test_a_new_process_hears_at_its_first_look(
    processes: list[Process], hand: HandClock
) -> None:
    processes[0].fail()
    await processes[0].shared.look()
    await processes[2].shared.look()
    assert states(processes) == [State.OPEN, State.CLOSED, State.OPEN]


async def test_a_redis_that_has_forgotten_closes_them(
    processes: list[Process], hand: HandClock, redis_client: redis.Redis
) -> None:
    processes[0].fail()
    await look(processes, hand)
    redis_client.flushdb()
    await look(processes, hand)
    assert states(processes) == [State.CLOSED] * 3


async def test_while_all_is_well_redis_is_asked_twice_a_second(
    processes: list[Process], hand: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    exchange = Board.exchange

    async def counted(board: Board, words: list[Word]) -> list[Record | None]:
        nonlocal asked
        asked += 1
        return await exchange(board, words)

    monkeypatch.setattr(Board, "exchange", counted)
    await look(processes[:1], hand, seconds=10)
    assert 17 <= asked <= 21


async def test_a_probe_that_ends_while_the_look_is_under_way_is_not_undone_by_it(
    processes: list[Process],
    hand: HandClock,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = processes[0]
    first.fail()
    await look(processes, hand)
    let_it_be_due(redis_client, hand)
    probe = first.reads.began()
    assert probe is not None
    exchange = Board.exchange

    async def slow(board: Board, words: list[Word]) -> list[Record | None]:
        records = await exchange(board, words)
        first.reads.ended(probe, ok=True)
        return records

    monkeypatch.setattr(Board, "exchange", slow)
    await first.shared.look()
    assert first.reads.state is State.CLOSED
    monkeypatch.undo()
    await look(processes, hand)
    assert states(processes) == [State.CLOSED] * 3


async def test_without_redis_each_process_decides_alone_and_tells_when_it_is_back(
    far_store: Store, proxy: Proxy, hand: HandClock, redis_client: redis.Redis
) -> None:
    process = Process(far_store, hand)
    await process.shared.look()
    proxy.refuse()
    process.fail()
    await look([process], hand)
    assert process.reads.state is State.OPEN
    hand.advance(60)
    probe = process.reads.began()
    assert probe is not None
    process.reads.ended(probe, ok=False)
    assert (process.reads.state, process.reads.failures) == (State.OPEN, 1)
    proxy.heal()
    await eventually(lambda: far_store.health.asks)
    await process.shared.look()
    assert redis_client.get(key(READS)).startswith(b"1 ")
    assert process.reads.state is State.OPEN


async def test_a_redis_that_hangs_costs_a_probe_its_time_out_and_no_more(
    far_store: Store, proxy: Proxy, hand: HandClock
) -> None:
    process = Process(far_store, hand)
    await process.shared.look()
    process.fail()
    hand.advance(60)
    proxy.hang()
    began = time.monotonic()
    assert process.reads.began()
    assert time.monotonic() - began < 2
    proxy.heal()


async def test_three_processes_on_a_real_clock_agree_within_a_second(
    redis_client: redis.Redis,
) -> None:
    stores = [Store(settings.REDIS_URL, timeout_s=2) for _ in range(3)]
    breakers = [Breaker(READS) for _ in stores]
    tasks = [
        asyncio.create_task(Shared(store, [breaker]).hold())
        for store, breaker in zip(stores, breakers, strict=True)
    ]
    try:
        for _ in range(4):
            assert breakers[0].began()
        await eventually(lambda: breakers[0].state is State.OPEN)
        opened = time.monotonic()
        await eventually(lambda: not any(breaker.admits() for breaker in breakers))
        assert time.monotonic() - opened < 1
        await eventually(lambda: breakers[2].admits())
        probe = breakers[2].began()
        assert probe is not None
        breakers[2].ended(probe, ok=True)
        closed = time.monotonic()
        await eventually(lambda: all(breaker.state is State.CLOSED for breaker in breakers))
        assert time.monotonic() - closed < 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for store in stores:
            store.close()


def test_a_thread_can_look_as_well(processes: list[Process], hand: HandClock) -> None:
    processes[0].fail()
    for process in processes:
        process.shared.look_now()
    assert states(processes) == [State.OPEN] * 3
    stopped = threading.Event()
    stopped.set()
    processes[0].shared.hold_now(stopped)


def test_of_two_who_open_the_later_hears_of_the_earlier(store: Store) -> None:
    board = Board(store, [READS])
    assert board.exchange_now([Word(OPEN, 0, 30)]) == [Record(0, 30)]
    (record,) = board.exchange_now([Word(OPEN, 0, 1)])
    assert record is not None
    assert record.wait_s > 25
    assert board.exchange_now([Word(OPEN, 1, 2)]) == [Record(1, 2)]


def test_late_news_of_a_success_does_not_undo_a_later_failure(store: Store) -> None:
    board = Board(store, [READS])
    board.exchange_now([Word(OPEN, 1, 2)])
    assert board.exchange_now([Word(CLOSE, 0)])[0] is not None
    assert board.exchange_now([Word(CLOSE, 1)]) == [None]
    assert board.exchange_now([Word(LOOK)]) == [None]


def test_a_claim_is_given_once_and_only_when_due(store: Store, redis_client: redis.Redis) -> None:
    board = Board(store, [READS])
    assert board.claim(READS, 0) == 0
    board.exchange_now([Word(OPEN, 3, 30)])
    assert board.claim(READS, 3) > 25
    redis_client.set(key(READS), "3 0")
    assert board.claim(READS, 3) == 0
    assert 0 < board.claim(READS, 3) <= CLAIM_MS / 1000


def test_a_record_does_not_outlive_its_due_by_more_than_a_minute(
    store: Store, redis_client: redis.Redis
) -> None:
    Board(store, [READS, WRITES]).exchange_now([Word(LOOK), Word(OPEN, 0, 1)])
    assert redis_client.keys("rl:{-}:breaker:*") == [key(WRITES).encode()]
    assert KEPT_MS < redis_client.pttl(key(WRITES)) <= KEPT_MS + 1000
