"""Rows in Redis: nobody puts a value back that was forgotten, in no order of what happens."""

import itertools
from collections.abc import Iterator

import pytest
import redis

from ratelimit import rows as module
from ratelimit.rows import Found, Rows, Seen
from ratelimit.store import Store

NOBODY = Seen("", 0)


@pytest.fixture
def rows(store: Store) -> Rows:
    return Rows(store)


def test_who_finds_nothing_may_fill_and_the_others_may_not(rows: Rows) -> None:
    assert rows.read("tv:1", "mine") == Found(None, leased=True)
    assert rows.read("tv:1", "another") == Found(None, leased=False)
    assert not rows.fill("tv:1", "another", '"x"', 10)
    assert rows.fill("tv:1", "mine", '"ñ"', 10)
    assert rows.read("tv:1", "third") == Found('"ñ"', leased=False)
    assert not rows.fill("tv:1", "mine", '"y"', 10)


def test_a_value_that_looks_like_a_lease_is_a_value(rows: Rows) -> None:
    for row, json in (("tv:1", '"?"'), ("tv:2", '"=a:b\\n"'), ("tv:3", "null")):
        rows.read(row, "mine")
        rows.fill(row, "mine", json, 10)
        assert rows.read(row, "other").json == json


class Reader:
    """Reads one row by three steps, each of which somebody else may come before."""

    def __init__(self, rows: Rows, database: dict[str, str], token: str) -> None:
        self.rows, self.database, self.token = rows, database, token
        self.steps = iter((self.read, self.load, self.fill))

    def read(self) -> None:
        self.found = self.rows.read("tv:1", self.token)

    def load(self) -> None:
        self.value = self.found.json or self.database["row"]

    def fill(self) -> None:
        if self.found.leased:
            self.rows.fill("tv:1", self.token, self.value, 10)


class Writer:
    """Commits a change, and then forgets the row."""

    def __init__(self, rows: Rows, database: dict[str, str]) -> None:
        self.rows, self.database = rows, database
        self.steps = iter((self.commit, self.forget))

    def commit(self) -> None:
        self.database["row"] = '"new"'

    def forget(self) -> None:
        self.rows.forget(["tv:1"])


def orders() -> Iterator[tuple[str, ...]]:
    """Of two readers of three steps each, and of a writer who commits and then forgets."""
    return iter(sorted(set(itertools.permutations("aaabbbww"))))


def test_in_none_of_560_orders_does_redis_keep_an_old_value(
    rows: Rows, redis_client: redis.Redis
) -> None:
    tried = 0
    for order in orders():
        redis_client.delete("row:{-}:tv:1")
        database = {"row": '"old"'}
        first, second = (Reader(rows, database, token) for token in "ab")
        steps = {"a": first.steps, "b": second.steps, "w": Writer(rows, database).steps}
        for who in order:
            next(steps[who])()
        assert rows.read("tv:1", "last").json in (None, '"new"'), order
        tried += 1
    assert tried == 560


def test_a_lease_that_was_too_long_ago_fills_nothing(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis
) -> None:
    rows.read("tv:1", "slow")
    redis_client.pexpire("row:{-}:tv:1", 1)
    while redis_client.exists("row:{-}:tv:1"):
        pass
    assert not rows.fill("tv:1", "slow", '"old"', 10)
    assert rows.read("tv:1", "quick").leased
    assert not rows.fill("tv:1", "slow", '"old"', 10)
    assert rows.fill("tv:1", "quick", '"new"', 10)


def test_what_was_forgotten_is_told_once(rows: Rows) -> None:
    rows.forget(["tv:1"])
    first = rows.changes(NOBODY)
    assert first.rows is None
    rows.forget(["tv:2", "radio:a:b"])
    rows.forget(["tv:2"])
    then = rows.changes(first.seen)
    assert sorted(then.rows or ()) == ["radio:a:b", "tv:2"]
    assert rows.changes(then.seen) == (then.seen, [])


def test_who_has_missed_more_than_the_list_holds_drops_everything(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis
) -> None:
    monkeypatch.setattr(module, "CHANGES_KEPT", 3)
    rows.forget(["tv:0"])
    early = rows.changes(NOBODY).seen
    rows.forget([f"tv:{number}" for number in range(1, 4)])
    assert sorted(rows.changes(early).rows or ()) == ["tv:1", "tv:2", "tv:3"]
    rows.forget(["tv:4"])
    assert rows.changes(early).rows is None
    assert redis_client.zcard("rows:{-}:changes") == 1 + 3


def test_many_rows_are_forgotten_in_several_calls(rows: Rows) -> None:
    rows.forget(["tv:x"])
    seen = rows.changes(NOBODY).seen
    many = [f"tv:{number}" for number in range(module.AT_ONCE + 1)]
    rows.forget(many)
    assert sorted(rows.changes(seen).rows or ()) == sorted(many)


def test_to_forget_everything_is_a_new_era_in_which_no_old_value_or_lease_counts(
    rows: Rows,
) -> None:
    rows.forget(["tv:0"])
    seen = rows.changes(NOBODY).seen
    rows.read("tv:1", "one")
    rows.fill("tv:1", "one", '"old"', 10)
    rows.read("tv:2", "two")
    rows.forget_all()
    assert rows.changes(seen).rows is None
    assert not rows.fill("tv:2", "two", '"old"', 10)
    assert rows.read("tv:1", "three") == Found(None, leased=True)


def test_a_server_that_loses_the_list_makes_everybody_drop_everything(
    rows: Rows, redis_client: redis.Redis
) -> None:
    rows.forget(["tv:0"])
    seen = rows.changes(NOBODY).seen
    rows.forget(["tv:1"])
    rows.read("tv:3", "mine")
    rows.fill("tv:3", "mine", '"old"', 10)
    redis_client.delete("rows:{-}:changes")
    assert rows.changes(seen).rows is None
    assert rows.read("tv:3", "mine").json is None
    rows.forget(["tv:2"])
    assert rows.changes(seen).rows is None


def test_every_key_ends_and_is_bounded(
    rows: Rows, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "USED_KEPT", 5)
    rows.read("tv:1", "mine")
    rows.fill("tv:1", "mine", "1", 10)
    rows.read("tv:2", "mine")
    rows.forget(["tv:3"])
    for number in range(9):
        rows.note_used("tv", [str(number)])
    keys = redis_client.keys()
    assert len(keys) == 4
    assert min(redis_client.pttl(key) for key in keys) > 0
    assert redis_client.zcard("rows:{-}:used:tv") == 5


def test_keys_are_told_by_when_they_were_used(rows: Rows, redis_client: redis.Redis) -> None:
    rows.note_used("tv", ["a", "b"])
    redis_client.zincrby("rows:{-}:used:tv", 5, "a")
    assert rows.used("tv", 10) == ["a", "b"]
    assert rows.used("tv", 1) == ["a"]
    assert rows.used("radio", 10) == []
