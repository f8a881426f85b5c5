"""The pool runs what it is given, once, in its own threads, and survives it."""

import asyncio
import threading
from typing import Any

import pytest

from stabilizer.pool import Pool, Work


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
