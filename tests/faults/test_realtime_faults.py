"""What happens to devices that wait when something breaks, in the service as it runs."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from dev.chaos.stack import REALTIME, WEB
from stabilizer.stampede.websocket import Socket, open_socket
from tests.faults.conftest import Reply, Service

pytestmark = [pytest.mark.processes, pytest.mark.alone]

#: The demonstration's subscribers have ten cards each; every test begins after the last one's.
DEVICES = iter(range(100, 1000))


@dataclass
class Tv:
    """A device that waits, and what it was told."""

    number: int
    created: Reply
    heard: list[dict[str, Any]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    socket: Socket | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def create(cls, service: Service, number: int | None = None) -> "Tv":
        number = next(DEVICES) if number is None else number
        created = service.create(number)
        assert created.status == 201, created
        return cls(number, created)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.heard]

    async def connect(self, resume: int = 0) -> None:
        self.socket = await open_socket(
            self.created.document["websocket_url"],
            self._hear,
            self._end,
            {"X-Forwarded-For": f"10.8.{self.number % 250}.1"},
        )
        udid, code = self.created.document["udid"], self.created.document["device_code"]
        self.socket.send({"type": "hello", "udid": udid, "device_code": code, "resume": resume})

    async def hears(self, type_: str, within_s: float = 5) -> dict[str, Any]:
        """The first message of this type, as soon as there is one."""
        async with asyncio.timeout(within_s):
            while type_ not in self.types:
                self.news.clear()
                await self.news.wait()
        return self.heard[self.types.index(type_)]

    async def is_ended(self, within_s: float = 5) -> int:
        async with asyncio.timeout(within_s):
            while not self.ended:
                self.news.clear()
                await self.news.wait()
        return self.ended[0]

    def leave(self) -> None:
        if self.socket is not None:
            self.socket.close()

    def _hear(self, message: dict[str, Any]) -> None:
        self.heard.append(message)
        self.news.set()

    def _end(self, code: int) -> None:
        self.ended.append(code)
        self.news.set()


@asynccontextmanager
async def waiting(service: Service, count: int) -> AsyncIterator[list[Tv]]:
    """`count` devices that have been told that they are pending."""
    tvs = [Tv.create(service) for _ in range(count)]
    try:
        await asyncio.gather(*(tv.connect() for tv in tvs))
        await asyncio.gather(*(tv.hears("pending") for tv in tvs))
        yield tvs
    finally:
        for tv in tvs:
            tv.leave()


def approve(service: Service, tv: Tv) -> None:
    approved = service.approve(tv.number, tv.created)
    assert approved.status == 200, approved


async def test_an_approval_at_any_moment_of_a_connection_arrives_within_a_second(
    service: Service,
) -> None:
    """Fault 15: from before the connection is made until after the first answer."""
    for number in range(40):
        tv = Tv.create(service)
        approving = asyncio.create_task(_approve_later(number * 0.003, service, tv))
        await asyncio.sleep(random.uniform(0, 0.03))
        await tv.connect()
        began = time.monotonic()
        await asyncio.wait([approving])
        approved_at = max(began, time.monotonic())
        await tv.hears("approved", within_s=1 + approved_at - time.monotonic())
        tv.leave()


async def _approve_later(seconds: float, service: Service, tv: Tv) -> None:
    await asyncio.sleep(seconds)
    await asyncio.to_thread(approve, service, tv)


@pytest.mark.parametrize("fault", ["flush", "restart"])
async def test_redis_forgets_everything_and_nobody_who_waits_is_forgotten(
    service: Service, fault: str
) -> None:
    """Fault 4: leases are counted again, sockets are looked at again, approvals arrive."""
    async with waiting(service, 5) as (tv, other, *_rest):
        if fault == "restart":
            service.stack.restart_redis()
        else:
            with Redis.from_url(service.stack.env["REDIS_URL"]) as client:
                client.flushall()
        # Approved while nobody may hear of it: everybody is looked at when Redis is back.
        await asyncio.to_thread(approve, service, tv)
        await tv.hears("approved", within_s=3)
        await asyncio.sleep(5)
        with Redis.from_url(service.stack.env["REDIS_URL"]) as client:
            held = client.hgetall("rl:{-}:connections:held")
            assert sum(map(int, held.values())) == 5
            sets = list(client.scan_iter("rl:{-}:connections:client:*"))
            assert len(sets) == 5
        await asyncio.to_thread(approve, service, other)
        await other.hears("approved", within_s=1)


async def test_a_killed_gateway_gives_its_connections_back_within_one_lease(
    service: Service,
) -> None:
    tv = Tv.create(service)
    five = [Tv(tv.number, tv.created) for _ in range(5)]
    await asyncio.gather(*(each.connect() for each in five))
    await asyncio.gather(*(each.hears("pending") for each in five))
    sixth = Tv(tv.number, tv.created)
    await sixth.connect()
    assert (await sixth.hears("bye"))["code"] == "too_many_connections"
    for name in REALTIME:
        service.stack.kill(name)
        service.stack.start(name)
    assert [await each.is_ended() for each in five] == [1006] * 5
    for name in REALTIME:
        service.stack.await_start(name)
    await asyncio.sleep(5)
    again = [Tv(tv.number, tv.created) for _ in range(6)]
    await asyncio.gather(*(each.connect() for each in again))
    await asyncio.gather(*(each.news.wait() for each in again))
    assert Counter(each.types[0] for each in again) == {"pending": 5, "bye": 1}
    for each in again:
        each.leave()


def test_a_device_that_polls_ten_times_a_second_is_slowed_down_and_still_served(
    service: Service,
) -> None:
    """Fault 18."""
    tv = Tv.create(service)
    code, path = (
        tv.created.document["device_code"],
        f"/api/v1/pairings/{tv.created.document['udid']}/",
    )
    answers = []
    for _ in range(20):
        answers.append(service.get(path, bearer=code))
        time.sleep(0.1)
    statuses = Counter(answer.status for answer in answers)
    assert statuses[200] >= 1
    assert statuses[200] + statuses[429] == 20
    assert {a.document["code"] for a in answers if a.status == 429} == {"slow_down"}
    approve(service, tv)
    collected = service.post(f"{path}credentials/", {}, bearer=code)
    assert collected.status == 200
    assert collected.document["credentials"]


async def test_idle_sockets_and_slow_handshakes_are_closed_in_five_seconds(
    service: Service,
) -> None:
    """Fault 20: what says nothing, or not enough, keeps neither descriptors nor others out."""
    port = service.stack.realtime_port
    before = _descriptors(service)
    opened: list[socket.socket] = []
    for number in range(2_400):
        idle = socket.create_connection(("127.0.0.1", port))
        if number % 3 == 1:
            idle.sendall(b"GET /ws/pairings/ HTTP/1.1\r\nHost: x\r\n")
        elif number % 3 == 2:
            idle.sendall(_handshake(number))
        opened.append(idle)
        if number % 50 == 0:
            await asyncio.sleep(0)
    async with waiting(service, 1) as (tv,):
        await asyncio.to_thread(approve, service, tv)
        await tv.hears("approved", within_s=2)
        # 5 s after each was taken, and 2 more for a client that does not answer the close frame.
        service.await_(lambda: _still_open(opened) == 0, "idle sockets to be closed", 10)
    for each in opened:
        each.close()
    service.await_(lambda: _descriptors(service) <= before + 10, "descriptors to be given back")


async def test_a_device_that_does_not_read_is_closed_and_costs_no_memory(
    service: Service,
) -> None:
    """Fault 21: 4408 stands at the end of what it finds when it reads at last."""
    tv = Tv.create(service)
    raw = socket.socket()
    # Before it connects, or the other side is promised more.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.connect(("127.0.0.1", service.stack.realtime_port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=2**22)
    slow = Socket(lambda _: None, lambda _: None)
    slow.connection_made(writer.transport)
    slow.send_bytes(_handshake(7))
    await reader.readuntil(b"\r\n\r\n")
    document = tv.created.document
    slow.send({"type": "hello", "udid": document["udid"], "device_code": document["device_code"]})
    await reader.readuntil(b"pending")
    writer.transport.pause_reading()
    before = _memory_kb(service)
    await asyncio.to_thread(_change_until_nobody_waits, service, document["udid"])
    assert _memory_kb(service) - before < 4_096
    writer.transport.resume_reading()
    rest = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    # On a busy machine its pings may be overdue before the buffers are full.
    reason = next(each for each in (b"slow_reader", b"no_pong") if rest.endswith(each))
    assert b'"code":"%s"' % reason in rest[-200:]
    assert rest.endswith((4408).to_bytes(2) + reason)


async def test_a_rolling_restart_fails_no_request_and_tells_every_device_when_to_return(
    service: Service,
) -> None:
    """Fault 26, with 19: they come back when they were told to, and are served then."""
    stopped = asyncio.Event()
    statuses: Counter[int] = Counter()

    def ask_on() -> None:
        while not stopped.is_set():
            statuses[service.get("/api/v1/me/", bearer=service.stack.api_key).status] += 1
            time.sleep(0.02)

    async with waiting(service, 300) as tvs:
        asking = [asyncio.create_task(asyncio.to_thread(ask_on)) for _ in range(4)]
        all_told = asyncio.Event()
        returning = [asyncio.create_task(_come_back(tv, all_told)) for tv in tvs]
        codes = [await asyncio.to_thread(service.stack.restart, name) for name in (*REALTIME, *WEB)]
        assert codes == [0] * 4
        all_told.set()
        for tv in tvs:
            tv.news.set()
        # Those that were sent to the process that was restarted next were told twice.
        lates = await asyncio.gather(*returning)
        stopped.set()
        await asyncio.gather(*asking)
        assert max(lates) < 1
        assert set(statuses) == {200}
        assert statuses[200] > 1000
        await asyncio.to_thread(approve, service, tvs[0])
        await tvs[0].hears("approved", within_s=1)
    assert "Traceback" not in service.logs("realtime")


async def _come_back(tv: Tv, all_told: asyncio.Event) -> float:
    """Wait for the bye, return exactly as told, twice at most; by how much it was served late."""
    late = 0.0
    for turn in range(2):
        bye = await _hears_bye(tv, all_told)
        if bye is None:
            assert turn == 1, "it was told nothing"
            return late
        assert bye["code"] == "draining", bye
        assert await tv.is_ended() == 4430
        tv.heard.clear()
        tv.ended.clear()
        await asyncio.sleep(bye["retry_after_ms"] / 1000)
        began = time.monotonic()
        await tv.connect()
        await tv.hears("pending", within_s=10)
        late = max(late, time.monotonic() - began)
    return late


async def _hears_bye(tv: Tv, all_told: asyncio.Event) -> dict[str, Any] | None:
    """The bye, or None once no gateway is left that would say one."""
    async with asyncio.timeout(60):
        while "bye" not in tv.types:
            if all_told.is_set():
                return None
            tv.news.clear()
            await tv.news.wait()
    return tv.heard[tv.types.index("bye")]


def _handshake(number: int) -> bytes:
    return (
        "GET /ws/pairings/ HTTP/1.1\r\nHost: x\r\n"
        f"X-Forwarded-For: 10.{number >> 8}.{number & 255}.1\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def _still_open(sockets: list[socket.socket]) -> int:
    """How many the other side has not closed yet."""
    count = 0
    for each in sockets:
        each.setblocking(False)
        try:
            while each.recv(4096):
                pass
        except BlockingIOError:
            count += 1
        except OSError:
            continue
    return count


def _pids(service: Service) -> list[int]:
    return [service.stack.running[name].pid for name in REALTIME]


def _descriptors(service: Service) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in _pids(service))


def _memory_kb(service: Service) -> int:
    total = 0
    for pid in _pids(service):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total


def _change_until_nobody_waits(service: Service, udid: str) -> None:
    """Raise the version of a pairing, and tell of it, faster than any device could."""
    ((pairing,),) = service.sql("SELECT id FROM pairing_pairing WHERE udid = %s", udid)
    change = "UPDATE pairing_pairing SET version = %s WHERE udid = %s"
    with Redis.from_url(service.stack.env["REDIS_URL"]) as client:
        for version in range(2, 10_000):
            service.sql(change, version, udid)
            client.publish("pairings:changed", f"{pairing} {version}")
            if not any(map(int, client.hvals("rl:{-}:connections:held"))):
                return
    raise AssertionError("it is still waited for")
