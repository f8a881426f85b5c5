"""Rows by levels: asked for once, at most a second late, and never put back after a change."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from django.conf import settings

from ratelimit import cache as module
from ratelimit import follower as following
from ratelimit.cache import Cache
from ratelimit.follower import FRESH_S, LOOK_EVERY_S, Follower
from ratelimit.health import Mode
from ratelimit.store import Store
from tests.faults.proxy import Proxy
from tests.hand_clock import HandClock

TTL_S = 60


@dataclass
class Table:
    """Rows that are loaded, how often each was, and a gate that holds who loads."""

    rows: dict[str, Any] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    read: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self, key: str) -> Any:
        value = self.rows.get(key)
        self.loads.append(key)
        self.read.set()
        assert self.gate.wait(10)
        return value

    def hold(self) -> None:
        """Who loads from now on has read, and goes on when `gate` is set."""
        self.read.clear()
        self.gate.clear()


class Process:
    """One process's cache of the rows `tv`."""

    def __init__(self, table: Table, clock: Callable[[], float], url: str, **options: Any) -> None:
        self.follower = Follower(lambda: Store(url, probe_s=0.05, timeout_s=2), clock)
        self.cache: Cache[Any] = Cache(
            "tv", table.load, ttl_s=TTL_S, follower=self.follower, **options
        )

    def get(self, key: str = "1") -> Any:
        return self.cache.get(key)

    def forget(self, *keys: str) -> None:
        self.follower.forget(f"tv:{key}" for key in keys)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        taken = module.take(self.follower)
        return {(str(key[2]), str(key[3])): number for key, number in taken.items()}


@pytest.fixture(autouse=True)
def told_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is told when a test says so, or somebody looks."""
    monkeypatch.setattr(following, "GATHER_S", 600)


@pytest.fixture
def table() -> Table:
    return Table({"1": "old"})


@pytest.fixture
def start(
    table: Table, hand: HandClock, redis_client: redis.Redis
) -> Iterator[Callable[..., Process]]:
    """Starts a process; all of them have one Redis and one clock."""
    started: list[Process] = []

    def start(url: str = settings.REDIS_URL, **options: Any) -> Process:
        started.append(Process(table, hand, url, **options))
        return started[-1]

    yield start
    for process in started:
        process.follower.reset()


def test_a_row_is_loaded_once_for_all_processes(
    start: Callable[..., Process], table: Table
) -> None:
    first, second = start(), start()
    assert [first.get(), first.get(), second.get(), second.get()] == ["old"] * 4
    assert table.loads == ["1"]
    assert first.counts == {
        ("process", "miss"): 1,
        ("redis", "miss"): 1,
        ("database", "hit"): 1,
        ("process", "hit"): 1,
    }
    assert second.counts == {("process", "miss"): 1, ("redis", "hit"): 1, ("process", "hit"): 1}
    assert second.counts == {}


def test_64_threads_that_miss_a_row_load_it_once(
    start: Callable[..., Process], table: Table
) -> None:
    process, together = start(), threading.Barrier(64)
    table.hold()

    def ask(_: int) -> Any:
        together.wait(10)
        return process.get()

    with ThreadPoolExecutor(64) as pool:
        asking = [pool.submit(ask, number) for number in range(64)]
        eventually(lambda: joined(process) == 63)
        table.gate.set()
        assert {asked.result(10) for asked in asking} == {"old"}
    assert table.loads == ["1"]


def test_a_load_that_fails_fails_for_all_who_wait_and_the_next_one_tries_again(
    start: Callable[..., Process], table: Table
) -> None:
    process, fails = start(), threading.Event()
    fails.set()

    def load(key: str) -> Any:
        value = Table.load(table, key)
        if fails.is_set():
            raise ZeroDivisionError
        return value

    process.cache._load = load
    table.hold()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(process.get) for _ in range(2)]
        eventually(lambda: joined(process) == 1)
        table.gate.set()
        assert [type(asked.exception(10)) for asked in asking] == [ZeroDivisionError] * 2
    fails.clear()
    assert process.get() == "old"
    assert table.loads == ["1", "1"]


def test_what_there_is_not_is_asked_for_again(start: Callable[..., Process], table: Table) -> None:
    process = start()
    assert process.get("2") is None
    table.rows["2"] = "new"
    assert process.get("2") == "new"


def test_a_change_is_seen_at_once_where_it_was_made_and_within_a_second_elsewhere(
    start: Callable[..., Process], table: Table, hand: HandClock
) -> None:
    here, there = start(), start()
    assert (here.get(), there.get()) == ("old", "old")
    table.rows["1"] = "new"
    here.forget("1")
    assert here.get() == "new"
    assert there.get() == "old"
    here.follower.pay()
    hand.advance(LOOK_EVERY_S)
    assert there.get() == "new"


def test_in_real_time_every_process_sees_a_change_within_a_second(
    start: Callable[..., Process], table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "GATHER_S", 0.05)
    here, there = start(), start()
    here.follower.clock = there.follower.clock = time.monotonic
    assert (here.get(), there.get()) == ("old", "old")
    table.rows["1"] = "new"
    changed_at = time.monotonic()
    here.forget("1")
    eventually(lambda: there.get() == "new")
    assert time.monotonic() - changed_at < FRESH_S


def test_who_reads_while_the_row_changes_hears_the_old_and_nobody_after(
    start: Callable[..., Process], table: Table, hand: HandClock
) -> None:
    here, there = start(), start()
    for reader in (here, there):
        table.rows["1"] = "old"
        table.hold()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(reader.get)
            assert table.read.wait(10)
            table.rows["1"] = "new"
            here.forget("1")
            here.follower.pay()
            hand.advance(LOOK_EVERY_S)
            reader.follower.follow()
            table.gate.set()
            assert reading.result(10) == "old"
        assert (here.get(), there.get()) == ("new", "new")
        here.forget("1")
        here.follower.pay()
        hand.advance(LOOK_EVERY_S)


def test_what_is_kept_before_the_change_is_heard_of_is_dropped_then(
    start: Callable[..., Process], table: Table, hand: HandClock
) -> None:
    here, there = start(), start()
    there.follower.follow()
    table.hold()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(there.get)
        assert table.read.wait(10)
        table.rows["1"] = "new"
        here.forget("1")
        here.follower.pay()
        table.gate.set()
        assert reading.result(10) == "old"
    assert there.get() == "old"
    hand.advance(LOOK_EVERY_S)
    assert there.get() == "new"


def test_a_row_that_redis_has_still_to_forget_is_not_read_there(
    start: Callable[..., Process], table: Table
) -> None:
    here, there = start(), start()
    assert (here.get(), there.get()) == ("old", "old")
    table.rows["1"] = "new"
    here.forget("1")
    assert here.get() == "new"
    assert here.counts["redis", "away"] == 1


def test_a_change_during_the_telling_is_told_too(
    start: Callable[..., Process], table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = start()
    here.get()
    forget, told = type(here.follower.rows).forget, []

    def forget_slowly(rows: Any, names: list[str]) -> None:
        forget(rows, names)
        told.append(list(names))
        if len(told) == 1:
            assert here.follower.owes("tv:1")
            here.forget("1")

    monkeypatch.setattr(type(here.follower.rows), "forget", forget_slowly)
    here.forget("1")
    here.follower.pay()
    assert here.follower.owes("tv:1")
    here.follower.pay()
    assert told == [["tv:1"], ["tv:1"]]
    assert not here.follower.owes("tv:1")


def test_too_many_rows_to_tell_of_are_everything(
    start: Callable[..., Process],
    table: Table,
    hand: HandClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "MOST_OWED", 2)
    here, there = start(), start()
    there.get()
    table.rows["1"] = "new"
    here.forget("7", "8", "9")
    assert here.get() == "new"
    here.follower.pay()
    hand.advance(LOOK_EVERY_S)
    assert there.get() == "new"
    assert there.counts["redis", "hit"] == 1


def test_a_row_ends_with_its_time_at_either_level(
    start: Callable[..., Process], table: Table, hand: HandClock, redis_client: redis.Redis
) -> None:
    process = start()
    process.get()
    assert 0.8 * TTL_S / 2 - 5 < redis_client.pttl("row:{-}:tv:1") / 1000 <= TTL_S / 2
    table.rows["1"] = "changed by nobody"
    hand.advance(0.8 * TTL_S / 2 - 1)
    assert process.get() == "old"
    hand.advance(TTL_S / 2)
    redis_client.delete("row:{-}:tv:1")
    assert process.get() == "changed by nobody"


def test_rows_do_not_end_together(start: Callable[..., Process]) -> None:
    lives = {start().cache._life_s() for _ in range(100)}
    assert len(lives) > 50
    assert 0.8 * TTL_S / 2 <= min(lives) < max(lives) <= TTL_S / 2


def test_a_process_keeps_so_many_rows_and_no_more(
    start: Callable[..., Process], table: Table
) -> None:
    table.rows |= {str(number): number for number in range(1, 6)}
    process = start(size=3)
    for number in range(1, 6):
        process.get(str(number))
    assert len(process.cache) == 3
    assert process.cache.latest(9) == ["5", "4", "3"]


def test_a_value_found_by_another_key_is_not_kept(
    start: Callable[..., Process], table: Table, redis_client: redis.Redis
) -> None:
    table.rows |= {"s-1": "S-1", "S-1": "S-1"}
    process = start(key_of=str)
    for key in ("s-1", "s-1", "S-1", "S-1"):
        assert process.get(key) == "S-1"
    assert table.loads == ["s-1", "s-1", "S-1"]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_reads_what_it_has_written_and_nobody_keeps_that(
    start: Callable[..., Process], table: Table
) -> None:
    from django.db import transaction

    process = start()
    process.get()
    with transaction.atomic():
        table.rows["1"] = "not committed"
        assert process.get() == "not committed"
        table.rows["1"] = "old"
    assert process.get() == "old"
    assert table.loads == ["1", "1"]


@pytest.mark.django_db(transaction=True)
def test_rows_are_forgotten_on_commit_and_not_before_nor_after_a_rollback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.db import transaction

    forgotten: list[str] = []
    monkeypatch.setattr(module._follower, "forget", forgotten.extend)
    with transaction.atomic():
        module.forget_on_commit(["tv:1"])
        assert forgotten == []
    assert forgotten == ["tv:1"]
    with transaction.atomic():
        module.forget_on_commit(["tv:2"])
        transaction.set_rollback(True)
    module.forget_on_commit([])
    assert forgotten == ["tv:1"]


def test_without_redis_a_row_is_kept_for_a_second(
    start: Callable[..., Process], table: Table, hand: HandClock
) -> None:
    process = start("redis://127.0.0.1:1/0")
    assert process.get() == process.get() == "old"
    table.rows["1"] = "new"
    hand.advance(FRESH_S - 0.01)
    assert process.get() == "old"
    hand.advance(0.01)
    assert process.get() == "new"
    assert table.loads == ["1", "1"]
    assert process.counts == {
        ("process", "miss"): 2,
        ("process", "hit"): 2,
        ("redis", "away"): 2,
        ("database", "hit"): 2,
    }


def test_a_redis_that_hangs_is_waited_for_once(
    start: Callable[..., Process], table: Table, proxy: Proxy, far_url: str
) -> None:
    process = start(far_url)
    process.follower._make_store = lambda: Store(far_url, probe_s=0.05, timeout_s=0.2)
    process.get()
    proxy.hang()
    process.cache.clear()
    began = time.monotonic()
    for number in range(100):
        assert process.get(str(number)) == table.rows.get(str(number))
    assert time.monotonic() - began < 2


def test_what_changes_while_redis_is_away_is_forgotten_when_it_is_back(
    start: Callable[..., Process],
    table: Table,
    hand: HandClock,
    proxy: Proxy,
    far_url: str,
) -> None:
    here, there = start(far_url), start()
    assert (here.get(), there.get()) == ("old", "old")
    proxy.refuse()
    table.rows["1"] = "new"
    here.forget("1")
    assert here.get() == "new"
    hand.advance(LOOK_EVERY_S)
    here.follower.follow()
    assert (here.get(), there.get()) == ("new", "old")
    proxy.heal()
    eventually(lambda: here.follower.rows.store.mode in (Mode.HEALTHY, Mode.RECOVERING))
    hand.advance(LOOK_EVERY_S)
    here.follower.follow()
    hand.advance(LOOK_EVERY_S)
    assert (here.get(), there.get()) == ("new", "new")


def test_a_redis_that_was_emptied_empties_the_processes(
    start: Callable[..., Process], table: Table, hand: HandClock, redis_client: redis.Redis
) -> None:
    here, there = start(), start()
    here.forget("7")
    here.follower.pay()
    hand.advance(LOOK_EVERY_S)
    there.get()
    redis_client.flushdb()
    table.rows["1"] = "new"
    hand.advance(LOOK_EVERY_S)
    assert there.get() == "new"


def test_what_others_have_used_is_read_before_it_is_asked_for(
    start: Callable[..., Process], table: Table, hand: HandClock
) -> None:
    table.rows |= {str(number): number for number in range(1, 6)}
    old = start()
    for key in ("1", "2", "3"):
        old.get(key)
    hand.advance(following.NOTE_EVERY_S)
    old.follower.follow()
    new = start()
    assert module.warm(5, new.follower) == 3
    assert new.counts == {}
    loads = list(table.loads)
    assert [new.get(key) for key in ("1", "2", "3")] == [1, 2, 3]
    assert table.loads == loads
    assert new.counts == {("process", "hit"): 3}


def test_warming_ends_with_its_time(
    start: Callable[..., Process], table: Table, hand: HandClock
) -> None:
    old = start()
    old.get()
    hand.advance(following.NOTE_EVERY_S)
    old.follower.follow()
    assert module.warm(0, start().follower) == 0
    assert module.warm(5, start("redis://127.0.0.1:1/0").follower) == 0


def test_a_process_that_reads_nothing_notes_nothing(
    start: Callable[..., Process], redis_client: redis.Redis
) -> None:
    start().follower.follow()
    assert redis_client.keys("rows:*") == []


def test_values_come_from_redis_as_they_went_there(
    start: Callable[..., Process], table: Table
) -> None:
    value = {"code": "S-1", "name": "Inés ?=:", "cards": [{"sn": "1", "udid": None}], "n": 1.5}
    table.rows["1"] = json.loads(json.dumps(value))
    assert start().get() == start().get() == value
    assert table.loads == ["1"]


def joined(process: Process) -> int:
    """How many of its threads wait for what another is loading."""
    return process.cache._counts.get(("cache", "tv", "process", "hit"), 0)


def eventually(what: Callable[[], bool], within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)
