"""What is known to wait: never said once a change may have been missed, in any order of events."""

import asyncio
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from audit import clock
from pairing import pending
from pairing.pending import BATCH, FRESH_S, KEPT_S, PROOF_S, SLOW_S, Known, Pending
from realtime.publisher import CHANNEL
from realtime.subscription import Subscription
from tests.faults.proxy import Proxy
from tests.hand_clock import HandClock

ID = UUID(int=1)


def known(version: int = 1, id: UUID = ID, left_s: float = 600) -> Known:
    return Known(id, version, "udid", 1, "WDJBMJHT", clock.now() + timedelta(seconds=left_s))


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def heard(hand: HandClock) -> Pending:
    heard = Pending(hand)
    heard.alive(hand())
    return heard


def read(heard: Pending, version: int = 1, digest: str = "d", id: UUID = ID) -> None:
    heard.remember(digest, known(version, id), heard.mark())


def test_what_was_read_is_known_until_a_newer_version_is_heard(heard: Pending):
    read(heard)
    heard.changed(ID, 1)
    assert heard.find("d") is not None
    heard.changed(ID, 2)
    assert heard.find("d") is None


def test_what_is_heard_while_a_pairing_is_read_is_not_lost(heard: Pending):
    mark = heard.mark()
    heard.changed(ID, 2)
    heard.remember("d", known(1), mark)
    assert heard.find("d") is None
    heard.remember("d", known(2), heard.mark())
    assert heard.find("d") is not None


def test_versions_heard_in_the_wrong_order_change_nothing(heard: Pending):
    heard.changed(ID, 3)
    heard.changed(ID, 2)
    read(heard, version=2)
    assert heard.find("d") is None


def test_what_was_read_before_a_gap_is_not_kept_after_it(heard: Pending):
    mark = heard.mark()
    heard.missed()
    heard.remember("d", known(), mark)
    assert heard.find("d") is None


def test_after_a_gap_nothing_is_known(heard: Pending):
    read(heard)
    heard.missed()
    assert heard.find("d") is None


def test_nothing_is_kept_or_said_without_a_sign_of_life(hand: HandClock):
    deaf = Pending(hand)
    read(deaf)
    deaf.alive(hand())
    assert deaf.find("d") is None
    read(deaf)
    assert deaf.find("d") is not None
    hand.advance(FRESH_S + 0.01)
    deaf.check(lambda ids: dict.fromkeys(ids, 1))
    assert deaf.find("d") is None
    deaf.alive(hand())
    assert deaf.find("d") is not None


def test_nothing_is_said_that_the_database_has_not_confirmed_lately(
    heard: Pending, hand: HandClock
):
    read(heard)
    hand.advance(FRESH_S + 0.01)
    heard.alive(hand())
    assert heard.find("d") is None
    heard.check(lambda ids: {ID: 1})
    assert heard.find("d") is not None


def test_a_change_that_was_never_said_is_found_by_looking(heard: Pending):
    read(heard)
    heard.find("d")
    heard.check(lambda ids: {ID: 2})
    assert heard.find("d") is None


def test_a_pairing_that_is_gone_does_not_wait(heard: Pending):
    read(heard)
    heard.find("d")
    heard.check(lambda ids: {})
    assert heard.find("d") is None


def test_all_are_looked_at_together_and_only_while_somebody_wants_to_know(
    heard: Pending, hand: HandClock
):
    asked: list[int] = []

    def versions(ids):
        asked.append(len(ids))
        return dict.fromkeys(ids, 1)

    for number in range(BATCH + 10):
        read(heard, digest=f"d{number}", id=uuid4())
    heard.check(versions)
    assert asked == []
    heard.find("d0")
    heard.check(versions)
    assert asked == [BATCH, 10]
    heard.check(versions)
    assert asked == [BATCH, 10]
    # Who does not ask any more is not looked at for ever.
    hand.advance(KEPT_S)
    heard.find("d0")
    hand.advance(0.01)
    heard.check(versions)
    assert asked == [BATCH, 10, 1]


def test_what_took_long_to_read_is_not_kept(heard: Pending, hand: HandClock):
    mark = heard.mark()
    hand.advance(SLOW_S + 0.1)
    heard.alive(hand())
    heard.remember("d", known(), mark)
    assert heard.find("d") is None


def test_a_pairing_whose_time_is_over_does_not_wait(heard: Pending):
    heard.remember("d", known(left_s=-1), heard.mark())
    assert heard.find("d") is None


def test_no_more_are_known_than_there_is_room_for(heard: Pending, monkeypatch):
    monkeypatch.setattr(pending, "MOST", 3)
    ids = [uuid4() for _ in range(5)]
    for number, each in enumerate(ids):
        read(heard, digest=f"d{number}", id=each)
        heard.changed(each, 1)
    assert [heard.find(f"d{number}") is not None for number in range(5)] == [False] * 2 + [True] * 3
    assert len(heard._digests) == len(heard._heard) == 3


STEPS = ("read", "remember", "approve", "die", "hear", "cut", "join", "ping", "look", "wait")


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_in_no_order_of_events_is_an_approval_hidden_for_longer_than_the_bound(steps: list[str]):
    """A database, a channel that loses what is said while it is cut, and one who polls."""
    hand = HandClock()
    heard = Pending(hand)
    version, approved_at = 1, None
    connected, on_the_way = False, []
    reading = None
    for step in steps:
        if step == "read":
            reading = (heard.mark(), known(version)) if version == 1 else None
        elif step == "remember" and reading:
            heard.remember("d", reading[1], reading[0])
            reading = None
        elif step == "approve" and approved_at is None:
            version, approved_at = 2, hand()
            if connected:
                on_the_way.append(2)
        elif step == "die" and approved_at is None:
            # It was committed, and nobody lived to say so.
            version, approved_at = 2, hand()
        elif step == "look":
            heard.check(lambda ids: {ID: version})  # noqa: B023 - called at once
        elif step == "hear" and connected and on_the_way:
            heard.changed(ID, on_the_way.pop(0))
        elif step == "cut":
            connected, on_the_way = False, []
        elif step == "join" and not connected:
            connected = True
            heard.missed()
        elif step == "ping" and connected:
            # Redis answers in order: what was said before comes first.
            at = hand()
            while on_the_way:
                heard.changed(ID, on_the_way.pop(0))
            heard.alive(at)
        elif step == "wait":
            hand.advance(0.2)
        if heard.find("d") is not None:
            assert approved_at is None or hand() - approved_at <= FRESH_S


# By a real subscription to a real Redis.


@pytest.fixture
def proxy(redis_client: redis.Redis):
    place = redis_client.connection_pool.connection_kwargs
    with Proxy(place.get("path") or place["port"]) as proxy:
        yield proxy


async def until(true, limit_s: float = 5) -> float:
    """How long it took to become true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < limit_s
        await asyncio.sleep(0.005)
    return time.monotonic() - began


@pytest.fixture
async def listening(redis_client: redis.Redis, proxy: Proxy):
    """Who listens through a proxy, as a web process listens."""
    here = Pending()
    database = redis_client.connection_pool.connection_kwargs["db"]
    url = f"redis://127.0.0.1:{proxy.port}/{database}"
    subscription = Subscription(url, here.changed, here.missed, on_alive=here.alive, ping_s=PROOF_S)
    subscription.start()
    yield here
    await subscription.stop()


async def keeps(here: Pending) -> None:
    """Wait until a pairing that was read is known."""

    def reads() -> bool:
        read(here)
        return here.find("d") is not None

    await until(reads)


async def test_a_published_change_is_known_at_once(listening: Pending, redis_client):
    await keeps(listening)
    redis_client.publish(CHANNEL, f"{ID.hex} 2")
    assert await until(lambda: listening.find("d") is None) < FRESH_S


async def test_it_stays_known_while_nothing_is_said(listening: Pending):
    await keeps(listening)
    proofs: set[float] = set()

    def proven() -> bool:
        """With each proof of life it is known still, or again on a machine that was busy."""
        listening.check(lambda ids: dict.fromkeys(ids, 1))
        if listening.find("d") is not None:
            proofs.add(listening._alive_at)
        return len(proofs) >= 8

    await until(proven, 20)
    assert listening._gap == 1


async def test_while_the_channel_hangs_an_approval_is_hidden_for_less_than_a_second(
    listening: Pending, proxy: Proxy, redis_client
):
    await keeps(listening)
    proxy.hang()
    redis_client.publish(CHANNEL, f"{ID.hex} 2")
    published_at = said_at = time.monotonic()

    def silent() -> bool:
        nonlocal said_at
        asked_at = time.monotonic()
        if listening.find("d") is None:
            return True
        said_at = asked_at
        return False

    await until(silent)
    assert said_at - published_at < 1
    # Nor does it come back before everything was read anew.
    proxy.heal()
    for _ in range(100):
        assert listening.find("d") is None
        await asyncio.sleep(0.01)


async def test_what_was_said_while_the_channel_was_cut_is_not_missed(
    listening: Pending, proxy: Proxy, redis_client
):
    await keeps(listening)
    proxy.refuse()
    redis_client.publish(CHANNEL, f"{ID.hex} 2")
    await until(lambda: listening.find("d") is None, 1)
    proxy.heal()
    await until(lambda: listening._gap > 1)
    assert listening.find("d") is None
