import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from ratelimit import revision
from ratelimit import store as store_module
from ratelimit.revision import DATABASE_ALONE_EVERY_S, DATABASE_EVERY_S, Watcher
from ratelimit.store import Store
from tests.faults.proxy import Proxy
from tests.hand_clock import HandClock


@pytest.fixture(autouse=True)
def own_store(redis_client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_shared", store)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every change that was followed."""
    changes: list[int] = []
    monkeypatch.setattr(revision, "_callbacks", [lambda: changes.append(1)])
    monkeypatch.setattr(revision, "_looks", [])
    return changes


@pytest.mark.django_db(transaction=True)
def test_a_change_tells_redis_when_it_has_committed_and_not_before(
    redis_client: redis.Redis,
) -> None:
    with transaction.atomic():
        revision.bump()
        assert redis_client.get(revision.KEY) is None
    assert redis_client.get(revision.KEY) == str(revision.current()).encode()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_changes_no_number(redis_client: redis.Redis) -> None:
    revision.bump()
    before = revision.current()
    with transaction.atomic():
        revision.bump()
        transaction.set_rollback(True)
    assert revision.current() == before
    assert redis_client.get(revision.KEY) == str(before).encode()


@pytest.mark.django_db(transaction=True)
def test_20_changes_at_once_count_20() -> None:
    def bump(_: int) -> None:
        revision.bump()
        connection.close()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(bump, range(20)))
    assert revision.current() == 20


@pytest.mark.django_db(transaction=True)
def test_the_watcher_follows_each_change_once(
    store: Store, hand: HandClock, changes: list[int]
) -> None:
    watcher = Watcher(store, hand)
    watcher.look()
    assert changes == [1]
    revision.bump()
    for _ in range(3):
        watcher.look()
    assert changes == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_while_nothing_changes_the_database_is_asked_every_ten_seconds(
    store: Store, hand: HandClock, changes: list[int]
) -> None:
    watcher = Watcher(store, hand)
    watcher.look()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for _ in range(40):
            hand.advance(DATABASE_EVERY_S / 20)
            watcher.look()
    assert len(queries) == 2


@pytest.mark.django_db(transaction=True)
def test_a_change_redis_was_not_told_of_is_found_in_the_database(
    store: Store, hand: HandClock, changes: list[int], redis_client: redis.Redis
) -> None:
    watcher = Watcher(store, hand)
    watcher.look()
    told = redis_client.get(revision.KEY)
    revision.bump()
    redis_client.delete(revision.KEY) if told is None else redis_client.set(revision.KEY, told)
    watcher.look()
    assert changes == [1]
    hand.advance(DATABASE_EVERY_S)
    watcher.look()
    assert changes == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_while_redis_is_away_the_database_is_asked_every_second(
    far_store: Store,
    proxy: Proxy,
    hand: HandClock,
    changes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "_shared", far_store)
    watcher = Watcher(far_store, hand)
    watcher.look()
    proxy.refuse()
    revision.bump()
    watcher.look()
    assert changes == [1]
    hand.advance(DATABASE_ALONE_EVERY_S)
    watcher.look()
    assert changes == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_could_not_be_followed_is_tried_again(
    store: Store, hand: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def fail_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError

    monkeypatch.setattr(revision, "_callbacks", [fail_once])
    watcher = Watcher(store, hand)
    with pytest.raises(ZeroDivisionError):
        watcher.look()
    watcher.look()
    watcher.look()
    assert len(tries) == 2


@pytest.fixture
def watched() -> Iterator[None]:
    yield
    revision.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("watched")
def test_a_started_process_follows_a_change_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = threading.Semaphore(0)
    monkeypatch.setattr(revision, "_callbacks", [followed.release])
    revision.start()
    revision.start()
    assert followed.acquire(timeout=5)
    revision.bump()
    assert followed.acquire(timeout=2)
    assert not followed.acquire(blocking=False)


@pytest.mark.django_db(transaction=True)
def test_what_changes_too_often_to_announce_is_looked_at_every_time(
    store: Store, hand: HandClock, changes: list[int]
) -> None:
    looked: list[int] = []

    def look() -> None:
        looked.append(1)

    revision.on_look(look)
    revision.on_look(look)
    watcher = Watcher(store, hand)
    for _ in range(3):
        watcher.look()
    assert (looked, changes) == ([1, 1, 1], [1])


def test_registering_a_callback_twice_is_once(changes: list[int]) -> None:
    def callback() -> None:
        changes.append(2)

    revision.on_change(callback)
    revision.on_change(callback)
    revision.refresh()
    assert changes == [1, 2]


def test_settings_name_the_store_that_the_process_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_shared", None)
    mine = store_module.shared()
    assert mine is store_module.shared()
    assert mine.call(lambda client: client.ping())
    assert settings.REDIS_URL
    mine.close()
