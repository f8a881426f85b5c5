"""What the gateway asks of the database, and what it does when it gets no answer."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import OperationalError, connection

from accounts.models import Client
from audit import clock
from pairing import device_code, signals, user_code
from pairing.models import Pairing
from ratelimit.connections import Caps
from ratelimit.gcra import Verdict
from ratelimit.herd import Herd
from ratelimit.store import Store
from realtime import gateway as gateways
from realtime import returns
from realtime.acts import Unavailable
from realtime.gateway import Gateway
from realtime.protocol import Approved, End, Message, Pending
from realtime.wait import Wait
from tests.hand_clock import HandClock
from tests.pairing.conftest import *  # noqa: F403 - its tenant
from tests.pairing.conftest import Device, Operator
from tests.ratelimit.test_leases import eventually

T = TypeVar("T")


class Wire:
    """Keeps what a device is told."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.ends: list[tuple[End, int | None]] = []

    def tell(self, message: Message) -> None:
        self.told.append(message)

    def end(self, end: End, retry_after_ms: int | None = None) -> None:
        self.ends.append((end, retry_after_ms))


class Desk:
    """Runs acts in one thread and counts their queries; fails them on demand."""

    def __init__(self) -> None:
        self.queries: Counter[str] = Counter()
        self.failing: Exception | None = None
        self.at_once = self.most_at_once = 0

    async def run(self, act: Callable[[], T]) -> T:
        if self.failing is not None:
            raise self.failing
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await sync_to_async(self._counted)(act)
        finally:
            self.at_once -= 1

    def _counted(self, act: Callable[[], T]) -> T:
        with connection.execute_wrapper(self._count):
            return act()

    def _count(self, execute: Any, sql: str, *rest: Any) -> Any:
        self.queries[sql.split(" ", 1)[0]] += 1
        return execute(sql, *rest)

    async def charge(self, policy: str, wait: Wait) -> Verdict:
        return Verdict(True, ())


@asynccontextmanager
async def running(desk: Desk, store: Store, **options: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(store, desk.run, desk.charge, caps=Caps(), **options)
    await gateway.start()
    try:
        await eventually(lambda: gateway._subscription.connected)
        yield gateway
    finally:
        await gateway.stop()


@pytest.fixture
def store(redis_client: Any) -> Any:
    store = Store(settings.REDIS_URL, timeout_s=2)
    yield store
    store.close()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def pairings(tv: Client, count: int) -> list[Wait]:
    """Devices with a pairing each, that wait on wires of their own."""
    waits, rows = [], []
    for number in range(count):
        secret = device_code.mint(tv.tenant_id)
        udid = f"gateway-device-{number:05d}"
        rows.append(
            Pairing(
                tenant=tv.tenant,
                client=tv,
                udid=udid,
                app_type="tv",
                device_code_digest=device_code.digest(secret),
                user_code=user_code.mint(),
                expires_at=clock.now() + timedelta(minutes=10),
            )
        )
        parsed = device_code.parse(secret)
        assert parsed is not None
        waits.append(Wait(Wire(), parsed, udid))
    Pairing.objects.bulk_create(rows)
    return waits


def all_told(waits: list[Wait]) -> Callable[[], bool]:
    return lambda: all(wait.wire.told for wait in waits)


@pytest.mark.django_db(transaction=True)
async def test_four_hundred_devices_that_come_at_once_cost_a_few_queries(
    tv: Client, desk: Desk, store: Store
) -> None:
    waits = await sync_to_async(pairings)(tv, 400)
    async with running(desk, store) as gateway:
        for wait in waits:
            gateway.join(wait)
        await eventually(all_told(waits))
        assert desk.queries == {"SELECT": 2}
        assert all(isinstance(wait.wire.told[0], Pending) for wait in waits)
        assert not any(wait.wire.ends for wait in waits)


@pytest.mark.django_db(transaction=True)
async def test_who_waits_costs_no_query_until_it_is_looked_at_again(
    tv: Client, desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = await sync_to_async(pairings)(tv, 50)
    async with running(desk, store) as gateway:
        for wait in waits:
            gateway.join(wait)
        await eventually(all_told(waits))
        desk.queries.clear()
        await asyncio.sleep(0.3)
        assert desk.queries == {}
        monkeypatch.setattr(gateways, "LOOK_AGAIN_S", 0.2)
        await eventually(lambda: desk.queries["SELECT"] >= 1)
        monkeypatch.undo()
        assert [len(wait.wire.told) for wait in waits] == [1] * 50


@pytest.mark.django_db(transaction=True)
async def test_changes_that_arrive_together_are_read_together(
    tv: Client, desk: Desk, store: Store
) -> None:
    waits = await sync_to_async(pairings)(tv, 100)
    async with running(desk, store) as gateway:
        for wait in waits:
            gateway.join(wait)
        await eventually(all_told(waits))
        desk.queries.clear()
        await sync_to_async(deny_all)()
        await eventually(lambda: all(wait.wire.ends for wait in waits))
        assert desk.queries["SELECT"] <= 10
        assert {wait.wire.ends[0][0] for wait in waits} == {End.FINISHED}


def deny_all() -> None:
    Pairing.objects.update(state="denied", version=2)
    for pairing in Pairing.objects.all():
        signals.changed.send(Pairing, id=pairing.pk, version=2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("failure", [OperationalError(2006, "gone away"), Unavailable()])
async def test_devices_wait_on_while_the_database_is_away_and_are_told_afterwards(
    tv: Client,
    desk: Desk,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
) -> None:
    monkeypatch.setattr(gateways, "AGAIN_S", 0.05)
    waits = await sync_to_async(pairings)(tv, 20)
    async with running(desk, store) as gateway:
        desk.failing = failure
        for wait in waits:
            gateway.join(wait)
        await asyncio.sleep(0.3)
        assert not any(wait.wire.told or wait.wire.ends for wait in waits)
        desk.failing = None
        await eventually(all_told(waits))


@pytest.mark.django_db(transaction=True)
async def test_a_push_is_timed_from_the_approval_for_those_who_waited_for_it(
    operator: Operator, desk: Desk, store: Store
) -> None:
    delays: list[float] = []
    devices = [await sync_to_async(Device.create)() for _ in range(2)]
    # The first device waits with two connections.
    *waiting, late = [wait_of(devices[number]) for number in (0, 0, 1)]
    async with running(desk, store, on_push=delays.append) as gateway:
        for wait in waiting:
            gateway.join(wait)
        await eventually(all_told(waiting))
        began = time.monotonic()
        for device in devices:
            assert (await sync_to_async(operator.approve)(device)).status_code == 200
        late.since = clock.now()
        gateway.join(late)
        await eventually(lambda: all(has_credentials(wait) for wait in (*waiting, late)))
        took_s = time.monotonic() - began
        await eventually(lambda: len(delays) >= len(waiting))
        await asyncio.sleep(0)
    assert len(delays) == len(waiting)
    assert all(0 < delay_s < took_s for delay_s in delays)


def wait_of(device: Device) -> Wait:
    parsed = device_code.parse(device.bearer)
    assert parsed is not None
    return Wait(Wire(), parsed, device.udid)


def has_credentials(wait: Wait) -> bool:
    return any(isinstance(message, Approved) for message in wait.wire.told)


def test_a_refused_connection_is_counted_by_its_reason(redis_client: Any) -> None:
    codes: list[str] = []
    away = returns.Returns(Herd(HandClock()), on_refusal=codes.append)
    away.record_refusal(End.AT_CAPACITY, "203.0.113.0/24")
    away.record_refusal(End.TOO_MANY_CONNECTIONS, "203.0.113.0/24")
    assert codes == ["at_capacity", "too_many_connections"]


def test_those_sent_away_come_back_as_a_ramp() -> None:
    away = returns.Returns(Herd(HandClock()))
    told = [away.after_ms() // 1000 for _ in range(3000)]
    per_second = Counter(told)
    assert max(per_second.values()) <= 1.2 * returns.RETURNS_PER_S
    assert max(told) <= 6


@pytest.mark.django_db(transaction=True)
async def test_draining_says_bye_in_slices_to_every_one(
    tv: Client, desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(returns, "DRAIN_S", 0.4)
    monkeypatch.setattr(returns, "SLICE_S", 0.1)
    wires = [Wire() for _ in range(40)]
    async with running(desk, store) as gateway:
        gateway.returns.wires.update(wires)
        draining = asyncio.create_task(gateway.returns.drain())
        await asyncio.sleep(0.05)
        assert sum(bool(wire.ends) for wire in wires) == 10
        await draining
        assert gateway.returns.draining
    assert all(end is End.DRAINING and ms for wire in wires for end, ms in wire.ends)
    assert [len(wire.ends) for wire in wires] == [1] * 40


def test_a_change_is_told_though_redis_is_away_for_a_moment(redis_client: Any) -> None:
    from realtime.publisher import CHANNEL, Publisher
    from tests.faults.proxy import Proxy

    place = redis_client.connection_pool.connection_kwargs
    with Proxy(place.get("path") or place["port"]) as proxy:
        proxy.refuse()
        publisher = Publisher(f"redis://127.0.0.1:{proxy.port}/0")
        pairing = uuid4()
        with heard(redis_client, CHANNEL) as is_heard:
            publisher.publish(pairing, 7)
            threading.Event().wait(0.3)
            proxy.heal()
            assert is_heard(f"{pairing.hex} 7".encode())


def test_changes_that_come_all_the_time_leave_together(redis_client: Any) -> None:
    from realtime.publisher import CHANNEL, EVERY_S, Publisher

    pairings = [uuid4() for _ in range(60)]
    expected = {f"{each.hex} 1".encode() for each in pairings}
    publisher = Publisher()
    told: list[set[bytes]] = []
    with redis_client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(CHANNEL)
        began_at = time.monotonic()
        for pairing in pairings:
            publisher.publish(pairing, 1)
            time.sleep(0.001)
        took_s = time.monotonic() - began_at
        while set().union(*told) != expected and time.monotonic() < began_at + 10:
            message = subscription.get_message(timeout=0.1)
            if message and (ours := expected & set(message["data"].splitlines())):
                told.append(ours)
    assert sum(map(len, told)) == len(pairings)
    assert len(told) <= took_s / EVERY_S + 2


@contextmanager
def heard(client: Any, channel: str) -> Any:
    with client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(channel)

        def is_heard(data: bytes) -> bool:
            # Channels are common to all databases of a server, and so to tests that run beside.
            for _ in range(100):
                message = subscription.get_message(timeout=0.1)
                if message is not None and data in message["data"].splitlines():
                    return True
            return False

        yield is_heard
