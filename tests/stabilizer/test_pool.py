"""The pool runs what it is given, once, in its own threads, and survives it."""

import asyncio
import random
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from typing import Any

import pytest

from stabilizer.pool import Pool
from stabilizer.work import Work, waiting


@pytest.fixture
def pool():
    pool = Pool(2, on_idle=lambda: None)
    yield pool
    assert pool.close()


async def test_results_and_exceptions_come_back(pool):
    assert await pool.submit(lambda: 42) == 42
    with pytest.raises(KeyError):
        await pool.submit(lambda: dict[str, int]()["missing"])


async def test_every_submission_runs_exactly_once(pool):
    ran = []
    await asyncio.gather(*(pool.submit(lambda n=n: ran.append(n)) for n in range(1000)))
    assert sorted(ran) == list(range(1000))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
async def test_what_would_end_the_loop_comes_back_as_a_runtime_error(pool, error):
    def fail():
        raise error

    with pytest.raises(RuntimeError, match=error.__name__):
        await pool.submit(fail)
    assert await pool.submit(lambda: "alive") == "alive"


async def test_work_cannot_be_cancelled_and_its_waiter_only_afterwards(pool):
    proceed = threading.Event()
    ran = []

    def work():
        proceed.wait(5)
        ran.append(True)

    async def wait():
        await pool.submit(work)

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    waiter.cancel()
    await asyncio.sleep(0.01)
    assert not waiter.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert ran == [True]


def test_a_loop_that_ends_first_costs_no_thread(pool, caplog):
    proceed = threading.Event()
    loop = asyncio.new_event_loop()

    async def submit():
        pool.submit(lambda: proceed.wait(5))

    loop.run_until_complete(submit())
    loop.close()
    proceed.set()
    assert asyncio.run(run_two(pool)) == (1, 2)
    assert pool.close()
    assert "the event loop ended" in caplog.text


async def run_two(pool):
    return tuple(await asyncio.gather(pool.submit(lambda: 1), pool.submit(lambda: 2)))


async def test_closing_finishes_what_was_submitted_and_gives_back_what_threads_keep():
    idle = []
    pool = Pool(3, on_idle=lambda: idle.append(threading.get_ident()))
    works = [pool.submit(lambda: "done") for _ in range(20)]
    assert await asyncio.to_thread(pool.close)
    assert await asyncio.gather(*works) == ["done"] * 20
    assert len(set(idle)) == 3


async def test_closing_reports_a_thread_that_does_not_end():
    proceed = threading.Event()
    pool = Pool(1, on_idle=lambda: None)
    work = pool.submit(lambda: proceed.wait(5))
    assert not await asyncio.to_thread(pool.close, 0.01)
    proceed.set()
    assert await work


async def test_what_is_urgent_is_taken_before_what_waits_already():
    pool, held = Pool(1, on_idle=lambda: None), threading.Event()
    order: list[str] = []
    works: list[Work[Any]] = [
        pool.submit(held.wait),
        pool.submit(lambda: order.append("first")),
        pool.submit(lambda: order.append("second")),
        pool.submit(lambda: order.append("urgent"), urgent=True),
    ]
    held.set()
    await asyncio.gather(*works)
    assert order == ["urgent", "first", "second"]
    assert pool.close()


class Steps:
    """What tasks have done, in order, and gates that hold them up."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def compute(self, name: str) -> None:
        """Until the gate of this name opens."""
        self.done.append(f"{name} computes")
        assert self.gates[name].wait(10)

    def wait(self, name: str) -> None:
        """The same, and says so."""
        self.done.append(f"{name} waits")
        with waiting:
            assert self.gates[name].wait(10)
        self.done.append(f"{name} goes on")

    async def reach(self, *steps: str) -> None:
        """Until these were done, in any order, and nothing else."""
        async with asyncio.timeout(10):
            while len(self.done) < len(steps):
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert sorted(self.done) == sorted(steps)
        self.done.clear()


@pytest.fixture
def steps(monkeypatch):
    """Nobody computes for so long that others begin beside it."""
    monkeypatch.setattr("stabilizer.pool.LONG_S", 60)
    return Steps()


async def test_one_computes_at_a_time_whatever_the_number_of_threads(steps):
    pool = Pool(4, on_idle=lambda: None)
    works = [pool.submit(partial(steps.compute, name)) for name in "ab"]
    await steps.reach("a computes")
    steps.gates["a"].set()
    await steps.reach("b computes")
    steps.gates["b"].set()
    await asyncio.gather(*works)
    assert pool.close()


async def test_while_one_waits_another_has_its_turn_and_goes_on_first_afterwards(steps):
    pool = Pool(4, on_idle=lambda: None)
    works = [pool.submit(partial(steps.wait, "a"))]
    works += [pool.submit(partial(steps.compute, name)) for name in "bc"]
    await steps.reach("a waits", "b computes")
    steps.gates["a"].set()
    await steps.reach()
    steps.gates["b"].set()
    await steps.reach("a goes on", "c computes")
    steps.gates["c"].set()
    await asyncio.gather(*works)
    assert pool.close()


async def test_what_is_urgent_computes_beside_one_other_and_before_all_that_wait(steps):
    pool = Pool(4, on_idle=lambda: None)
    works = [pool.submit(partial(steps.compute, name)) for name in ("a", "b")]
    works += [pool.submit(partial(steps.compute, name), urgent=True) for name in ("u", "v")]
    await steps.reach("a computes", "u computes")
    steps.gates["u"].set()
    await steps.reach("v computes")
    steps.gates["a"].set()
    await steps.reach()
    steps.gates["v"].set()
    await steps.reach("b computes")
    steps.gates["b"].set()
    await asyncio.gather(*works)
    assert pool.close()


async def test_many_that_wait_share_all_the_threads(steps):
    pool = Pool(4, on_idle=lambda: None)
    works = [pool.submit(partial(steps.wait, name)) for name in "abcdef"]
    await steps.reach("a waits", "b waits", "c waits", "d waits")
    for name in "abcdef":
        steps.gates[name].set()
    await asyncio.gather(*works)
    assert pool.close()


async def test_who_computes_for_long_keeps_nobody_from_his_turn(monkeypatch):
    monkeypatch.setattr("stabilizer.pool.LONG_S", 0.02)
    pool, forever = Pool(2, on_idle=lambda: None), threading.Event()
    long = pool.submit(lambda: forever.wait(10))
    async with asyncio.timeout(5):
        assert await pool.submit(lambda: "beside it") == "beside it"
    forever.set()
    assert await long
    assert pool.close()


async def test_who_holds_what_another_needs_goes_on_although_it_is_not_his_turn(monkeypatch):
    monkeypatch.setattr("stabilizer.pool.LONG_S", 0.02)
    pool, lock, held = Pool(2, on_idle=lambda: None), threading.Lock(), threading.Event()

    def hold() -> str:
        with lock:
            with waiting:
                assert held.wait(10)
            return "held"

    def need() -> str:
        held.set()
        with lock:
            return "had"

    async with asyncio.timeout(5):
        holder, other = pool.submit(hold), pool.submit(need)
        assert (await holder, await other) == ("held", "had")
    assert pool.close()


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_waits_and_computes_each_has_its_turn_and_no_more_compute(seed, monkeypatch):
    monkeypatch.setattr("stabilizer.pool.LONG_S", 60)
    chance, lock = random.Random(seed), threading.Lock()
    pool, computing, most = Pool(3, on_idle=lambda: None), Counter[bool](), Counter[bool]()

    def run(urgent: bool, parts: list[tuple[bool, float]]) -> bool:
        for waits, seconds in parts:
            if waits:
                with waiting:
                    time.sleep(seconds)
                continue
            with lock:
                computing[urgent] += 1
                most[True] = max(most[True], computing.total())
                most[False] = max(most[False], computing[False])
            time.sleep(seconds)
            with lock:
                computing[urgent] -= 1
        return urgent

    tasks = [
        (
            chance.random() < 0.3,
            [(chance.random() < 0.5, chance.random() / 1000) for _ in range(chance.randrange(9))],
        )
        for _ in range(60)
    ]
    async with asyncio.timeout(30):
        done = await asyncio.gather(*(pool.submit(partial(run, *t), urgent=t[0]) for t in tasks))
    assert done == [urgent for urgent, _ in tasks]
    assert most[False] == 1
    assert most[True] <= 2
    assert pool.close()


async def test_waiting_twice_is_waiting_once(steps):
    pool = Pool(2, on_idle=lambda: None)

    def twice() -> str:
        with waiting, waiting:
            pass
        return "done"

    assert await pool.submit(twice) == "done"
    assert pool.close()


def test_in_any_other_thread_waiting_does_nothing():
    with waiting:
        pass
