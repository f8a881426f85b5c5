"""However a device waits, it is told once, obeys what it is told, and loses nothing on the way."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop
from django.core.management import call_command
from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from ratelimit import revision
from stabilizer import demo, listener
from stabilizer.stampede import caller, options, report
from stabilizer.stampede.connection import Broken
from stabilizer.stampede.device import Device, Identity
from stabilizer.stampede.events import open_stream
from stabilizer.stampede.tally import Step, Tally
from stabilizer.stampede.waits import Way
from stabilizer.stampede.websocket import SUBPROTOCOL, open_socket
from tests.stabilizer import processes
from tests.stabilizer.test_stampede import Scripted, answer, ends, token

#: Pairs, and stays.
PAIRS = Identity(12, 0x0203)
APPROVED = {
    "type": "approved",
    "version": 3,
    "access_token": token(sub=PAIRS.subscriber_code, dev=PAIRS.udid),
    "credentials": {"login1": PAIRS.subscriber_code.lower()},
}
FINISHED = {"type": "bye", "code": "finished"}
ASSOCIATED = answer(200, {})

Talk = Callable[["FakeGateway", ServerConnection], Awaitable[None]]


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    monkeypatch.setattr(caller, "THINK_S", (0.0, 0.0))
    monkeypatch.setattr(caller, "AGAIN_S", (0.05, 0.05))


def pending(version: int = 1) -> dict[str, Any]:
    return {"type": "pending", "version": version, "expires_in": 600, "interval": 5}


def bye(code: str, retry_after_ms: int | None = None) -> dict[str, Any]:
    said = {"type": "bye", "code": code}
    return said if retry_after_ms is None else said | {"retry_after_ms": retry_after_ms}


def created(url: str) -> bytes:
    return answer(201, {"user_code": "A", "device_code": "dc", "websocket_url": url})


async def run(server: Scripted, way: Way, url: str, *then: bytes, deadline_s: float = 20) -> Tally:
    server.script = [created(url), *then]
    tally = Tally(1)
    await Device(PAIRS, server.target, tally, deadline_s, way).run()
    return tally


def counts(tally: Tally) -> dict[str, int]:
    return {step.value: len(tally.answers[step]) for step in Step if tally.answers[step]}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


# On a WebSocket


class FakeGateway:
    """Holds one talk with each connection that comes, in this order."""

    def __init__(self, *talks: Talk) -> None:
        self.talks = list(talks)
        self.hellos: list[dict[str, Any]] = []
        self.came_at: list[float] = []
        self.headers: list[Any] = []

    async def __aenter__(self) -> "FakeGateway":
        self.http = await Scripted().__aenter__()
        self.server = await serve(
            self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]
        )
        port = next(iter(self.server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/ws/pairings/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        await self.http.__aexit__()

    async def run(self, deadline_s: float = 20) -> Tally:
        return await run(self.http, Way.WS, self.url, ASSOCIATED, deadline_s=deadline_s)

    @property
    def calls(self) -> list[str]:
        return [request.split(b" ", 2)[1].decode() for request in self.http.requests]

    async def _serve(self, connection: ServerConnection) -> None:
        self.came_at.append(time.monotonic())
        self.headers.append(connection.request.headers)
        await self.talks.pop(0)(self, connection)

    async def hello(self, connection: ServerConnection) -> None:
        said = json.loads(await connection.recv())
        assert said["type"] == "hello"
        self.hellos.append(said)

    async def approval(self) -> None:
        while len(self.http.requests) < 2:
            await asyncio.sleep(0.005)


async def tell(connection: ServerConnection, message: dict[str, Any]) -> None:
    await connection.send(json.dumps(message))


async def expect_ack(connection: ServerConnection) -> None:
    assert json.loads(await connection.recv()) == {"type": "ack"}


async def finish(connection: ServerConnection, code: int = 4510) -> None:
    await expect_ack(connection)
    await tell(connection, FINISHED)
    await connection.close(code)


async def approve(gateway: FakeGateway, connection: ServerConnection) -> None:
    """The whole course: pending, approved, acknowledged."""
    await gateway.hello(connection)
    await tell(connection, pending())
    await gateway.approval()
    await tell(connection, APPROVED)
    await finish(connection)


async def approve_at_once(gateway: FakeGateway, connection: ServerConnection) -> None:
    """The end of a course that was interrupted after `pending`."""
    await gateway.hello(connection)
    await tell(connection, APPROVED)
    await finish(connection)


def pending_then(*messages: dict[str, Any]) -> Talk:
    """Say `pending`, after the approval these, and hang up without a word."""

    async def talk(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await gateway.approval()
        for message in messages:
            await tell(connection, message)
        if not messages:
            connection.transport.abort()

    return talk


async def test_a_device_is_told_pending_then_approved_and_acknowledges():
    async with FakeGateway(approve) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert not tally.failures
    assert gateway.hellos == [{"type": "hello", "udid": PAIRS.udid, "device_code": "dc"}]
    assert gateway.headers[0]["X-Forwarded-For"] == PAIRS.address
    assert gateway.calls == ["/api/v1/pairings/", "/api/v1/pairings/associate/"]
    assert counts(tally) == {"create": 1, "waiting": 1, "associate": 1, "pushed": 1, "ack": 1}


async def test_nobody_is_approved_who_has_not_been_told_pending():
    told = asyncio.Event()

    async def late(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await asyncio.sleep(0.2)
        assert gateway.calls == ["/api/v1/pairings/"]
        told.set()
        await tell(connection, pending())
        await gateway.approval()
        await tell(connection, APPROVED)
        await finish(connection)

    async with FakeGateway(late) as gateway:
        tally = await gateway.run()
    assert told.is_set()
    assert tally.is_flawless
    assert tally.answers[Step.WAITING][0] >= 0.2


async def test_the_push_is_measured_from_the_answer_of_the_approval():
    async def slow(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await gateway.approval()
        await asyncio.sleep(0.3)
        await tell(connection, APPROVED)
        await finish(connection)

    async with FakeGateway(slow) as gateway:
        tally = await gateway.run()
    assert 0.25 < tally.answers[Step.PUSHED][0] < 2


async def test_a_push_that_overtakes_the_answer_took_no_time():
    async def early(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await tell(connection, APPROVED)
        await finish(connection)

    async with FakeGateway(early) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert list(tally.answers[Step.PUSHED]) == [0]


async def test_a_bye_is_obeyed_to_the_millisecond_and_no_transport_error():
    said_at = 0.0

    async def refuse(gateway: FakeGateway, connection: ServerConnection) -> None:
        nonlocal said_at
        await gateway.hello(connection)
        said_at = time.monotonic()
        await tell(connection, bye("at_capacity", 400))
        await connection.close(4429)

    async with FakeGateway(refuse, approve) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert dict(tally.put_off) == {"bye at_capacity": 1}
    assert 0.4 <= gateway.came_at[1] - said_at < 1


async def test_a_bye_during_the_wait_is_followed_by_a_hello_that_names_the_version():
    async with FakeGateway(pending_then(bye("draining", 50)), approve_at_once) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert gateway.hellos[1]["resume"] == 1
    assert counts(tally)["pushed"] == 1


async def test_a_device_told_to_return_after_its_deadline_gives_up_at_once():
    async with FakeGateway(pending_then(bye("draining", 60_000))) as gateway:
        tally = await gateway.run(deadline_s=5)
    assert dict(tally.failures) == {"pushed: late": 1}
    assert max(tally.answered_at) < time.monotonic() < tally.zero + max(tally.answered_at) + 4


async def test_a_lost_connection_is_opened_again_with_the_version_that_is_known():
    async with FakeGateway(pending_then(), approve_at_once) as gateway:
        tally = await gateway.run()
    assert dict(tally.transport) == {"lost": 1}
    assert [hello.get("resume") for hello in gateway.hellos] == [None, 1]
    assert tally.everybody_served


async def test_an_ack_that_was_lost_is_said_again_after_hello():
    async def lose_ack(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await gateway.approval()
        await tell(connection, APPROVED)
        await expect_ack(connection)
        connection.transport.abort()

    async def hear_it_again(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await finish(connection)

    async with FakeGateway(lose_ack, hear_it_again) as gateway:
        tally = await gateway.run()
    assert dict(tally.transport) == {"lost": 1}
    assert gateway.hellos[1]["resume"] == 3
    assert counts(tally)["ack"] == 1
    assert not tally.failures


async def test_a_gateway_that_never_answers_hello_is_a_timeout(monkeypatch):
    monkeypatch.setattr("stabilizer.stampede.listening.ANSWER_S", 0.1)

    async def silent(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await connection.wait_closed()

    async with FakeGateway(silent, approve) as gateway:
        tally = await gateway.run()
    assert dict(tally.transport) == {"timeout": 1}
    assert tally.everybody_served


async def test_a_push_that_never_comes_is_late_and_no_transport_error():
    async def forget(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await connection.wait_closed()

    async with FakeGateway(forget) as gateway:
        tally = await gateway.run(deadline_s=0.5)
    assert dict(tally.failures) == {"pushed: late": 1}
    assert not tally.transport


@pytest.mark.parametrize("way", [Way.WS, Way.SSE])
async def test_where_no_gateway_listens_everybody_is_refused_until_late(way):
    async with Scripted() as server:
        url = f"ws://127.0.0.1:{closed_port()}/ws/pairings/"
        tally = await run(server, way, url, deadline_s=0.3)
    assert set(tally.transport) == {"refused"}
    assert tally.transport["refused"] > 1
    assert dict(tally.failures) == {"waiting: late": 1}


async def test_a_handshake_that_is_refused_is_a_transport_error_with_its_status():
    async with Scripted() as server, Scripted(answer(503), answer(503)) as gateway:
        url = f"ws://127.0.0.1:{gateway.target.port}/ws/pairings/"
        tally = await run(server, Way.WS, url, deadline_s=0.1)
    assert tally.transport["answered 503"] >= 1
    assert tally.served == 0


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ({"type": "error", "code": "access_denied"}, "pushed: error access_denied"),
        ({"type": "denied", "version": 2}, "pushed: denied"),
        (bye("unauthorized"), "pushed: bye unauthorized"),
    ],
)
async def test_what_ends_the_wait_is_counted_by_its_name(message, failure):
    async with FakeGateway(pending_then(message)) as gateway:
        tally = await gateway.run()
    assert dict(tally.failures) == {failure: 1}
    assert (tally.served, tally.done) == (0, 1)


async def test_an_error_while_it_waits_is_counted_and_the_push_awaited():
    busy = {"type": "error", "code": "overloaded", "retry_after_ms": 60_000}

    async def approve_later(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await gateway.approval()
        await tell(connection, busy)
        await tell(connection, APPROVED)
        await finish(connection)

    async with FakeGateway(approve_later) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert dict(tally.put_off) == {"error overloaded": 1}


@pytest.mark.parametrize("code", ["rate_limited", "overloaded", "database_unavailable"])
async def test_an_ack_that_could_not_be_done_is_said_again_when_the_error_says(code):
    between: list[float] = []

    async def put_off(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await gateway.approval()
        await tell(connection, APPROVED)
        await expect_ack(connection)
        began = time.monotonic()
        await tell(connection, {"type": "error", "code": code, "retry_after_ms": 300})
        await finish(connection)
        between.append(time.monotonic() - began)

    async with FakeGateway(put_off) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert dict(tally.put_off) == {f"error {code}": 1}
    assert 0.3 <= between[0] < 1
    assert not tally.failures


async def test_bye_finished_must_be_followed_by_its_close_code():
    async def wrong(gateway: FakeGateway, connection: ServerConnection) -> None:
        await gateway.hello(connection)
        await tell(connection, pending())
        await gateway.approval()
        await tell(connection, APPROVED)
        await finish(connection, 1000)

    async with FakeGateway(wrong) as gateway:
        tally = await gateway.run()
    assert dict(tally.failures) == {"ack: closed with 1000 after bye finished": 1}


async def test_somebody_elses_credentials_are_no_service():
    other = APPROVED | {"credentials": {"login1": "s000001"}}
    async with FakeGateway(pending_then(other)) as gateway:
        tally = await gateway.run()
    assert dict(tally.failures) == {"credentials: somebody else's": 1}


@pytest.mark.parametrize("way", [Way.WS, Way.SSE])
@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("", "the service has named no websocket_url"),
        ("ws://192.0.2.7/ws/pairings/", "192.0.2.7 is not this machine: --allow-remote"),
    ],
)
async def test_devices_go_to_no_gateway_uninvited(way, url, failure):
    async with Scripted() as server:
        tally = await run(server, way, url)
    assert dict(tally.failures) == {f"waiting: {failure}": 1}


async def test_an_answer_that_is_not_http_is_lost():
    async with Scripted(b"SSH-2.0-OpenSSH\r\n\r\n") as server:
        with pytest.raises(Broken, match="lost"):
            await open_socket(f"ws://127.0.0.1:{server.target.port}/", print, print, {})


@pytest.mark.parametrize(
    "sent",
    [b"\x81\x03no!", b"\x81\x02[]", b"\x81\x7f" + bytes(8)],
    ids=["no JSON", "no object", "too long"],
)
def test_what_is_no_message_ends_the_connection_and_nothing_is_sent_after(sent):
    async def talk() -> int:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with Scripted(b"HTTP/1.1 101 Any\r\n\r\n" + sent, b"") as server:
            url = f"ws://127.0.0.1:{server.target.port}/"
            opened = await open_socket(url, pytest.fail, ended.set_result, {})
            code = await ended
            opened.send({"type": "ack"})
            return code

    # Its transports, unlike asyncio's, raise when something is sent after the end.
    assert uvloop.run(talk()) == 1006


# By server-sent events


OPEN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text.encode())


def event(message: dict[str, Any]) -> bytes:
    return chunk(f"event: {message['type']}\ndata: {json.dumps(message)}\n\n")


END = chunk("")


class FakeStreams:
    """Answers each request for a stream with these bytes, the latter of them after the approval.

    Then it hangs up, if there is another stream to come.
    """

    def __init__(self, *streams: tuple[bytes, bytes]) -> None:
        self.streams = list(streams)
        self.requests: list[str] = []
        self.came_at: list[float] = []
        self.serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FakeStreams":
        self.http = await Scripted().__aenter__()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/ws/pairings/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        await ends(self.serving)
        await self.http.__aexit__()

    async def run(self, deadline_s: float = 20) -> Tally:
        then = (ASSOCIATED, answer(204))
        return await run(self.http, Way.SSE, self.url, *then, deadline_s=deadline_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        self.came_at.append(time.monotonic())
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        at_once, after_approval = self.streams.pop(0)
        writer.write(at_once)
        if after_approval:
            while len(self.http.requests) < 2:
                await asyncio.sleep(0.005)
            writer.write(after_approval)
        if not self.streams:
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
        writer.close()


WAITS = OPEN + chunk(":\n\n") + event(pending())


async def test_a_device_hears_events_and_acknowledges_by_http():
    async with FakeStreams((WAITS, event(APPROVED))) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert not tally.failures
    head = gateway.requests[0].splitlines()
    assert head[0] == f"GET /sse/pairings/{PAIRS.udid}/ HTTP/1.1"
    assert {"Authorization: Bearer dc", f"X-Forwarded-For: {PAIRS.address}"} <= set(head)
    assert b"/ack/ " in gateway.http.requests[-1]
    assert counts(tally) == {"create": 1, "waiting": 1, "associate": 1, "pushed": 1, "ack": 1}


async def test_an_event_may_come_in_pieces():
    whole = f"data: {json.dumps(APPROVED)}\n\n"
    pieces = b"".join(chunk(letter) for letter in whole)
    async with FakeStreams((WAITS, pieces)) as gateway:
        assert (await gateway.run()).is_flawless


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refused_stream_is_opened_when_the_device_was_told_to_return(status):
    refused = (answer(status, {}, "Retry-After: 1"), b"")
    async with FakeStreams(refused, (WAITS, event(APPROVED))) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert tally.refusals[Step.WAITING][status] == 1
    assert 1 <= gateway.came_at[1] - gateway.came_at[0] < 2


async def test_a_bye_among_events_is_obeyed_and_the_version_named():
    leaves = event(bye("draining", 300)) + END
    async with FakeStreams((WAITS, leaves), (OPEN + event(APPROVED), b"")) as gateway:
        tally = await gateway.run()
    assert tally.is_flawless
    assert dict(tally.put_off) == {"bye draining": 1}
    assert "Last-Event-ID: 1" in gateway.requests[1].splitlines()
    assert "Last-Event-ID" not in gateway.requests[0]


@pytest.mark.parametrize(("end", "name"), [(b"5\r\nda", "lost"), (END, "closed 1000")])
async def test_a_stream_that_ends_without_bye_is_opened_again_with_the_version(end, name):
    async with FakeStreams((WAITS, end), (OPEN + event(APPROVED), b"")) as gateway:
        tally = await gateway.run()
    assert dict(tally.transport) == {name: 1}
    assert "Last-Event-ID: 1" in gateway.requests[1].splitlines()
    assert tally.everybody_served


async def test_a_stream_that_is_not_the_devices_is_a_failure_with_its_code():
    async with FakeStreams((answer(401, {"code": "invalid_device_code"}), b"")) as gateway:
        tally = await gateway.run()
    assert dict(tally.failures) == {"waiting: 401 invalid_device_code": 1}


async def test_a_stream_needs_an_address():
    with pytest.raises(Broken):
        await open_stream("ws://127.0.0.1/", print, print, {})


# The report


def test_the_steps_of_who_listens_are_shown_where_somebody_did():
    polled, pushed = Tally(1), Tally(1)
    pushed.answered(Step.WAITING, 0.1, 1.0)
    pushed.answered(Step.PUSHED, 0.2, 2.0)
    pushed.put_off["bye draining"] += 2
    assert not {"waiting", "pushed"} & report.document(polled, 1.0, 1.0)["steps"].keys()

    document = report.document(pushed, 1.0, 1.0, Way.WS)
    assert document["steps"]["pushed"]["max"] == 0.2
    assert (document["way"], document["put_off"]) == ("ws", {"bye draining": 2})
    with (console := Console(width=100)).capture() as shown:
        report.show(console, pushed, 1.0, Way.WS)
    assert "waiting by ws" in shown.get()
    assert "│ pushed" in shown.get()
    assert "2 bye draining" in shown.get()


def test_the_way_is_among_the_words_of_the_command(capsys):
    assert options.words({"wait": Way.SSE, "devices": 5}) == ["--devices=5", "--wait=sse"]


# Real runs


def start_gateway(fd: int, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stabilizer.server", "realtime", "--fd", str(fd)],
        pass_fds=[fd],
        env=processes.environment(**env),
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def service(transactional_db, redis_client) -> Iterator[int]:
    """A web process and a gateway with the demo's data: the web's port, and the key in API_KEY."""
    # An earlier test may have left its keys in this process.
    revision.refresh()
    made = demo.make(subscribers=30, cards=10)
    revision.refresh()
    with (
        listener.listen("127.0.0.1", 0, 1024)[0] as web,
        listener.listen("127.0.0.1", 0, 1024)[0] as gateway,
    ):
        ports = [each.getsockname()[1] for each in (web, gateway)]
        words = {
            "TRUSTED_PROXIES": "127.0.0.1/32",
            "REALTIME_URL": f"http://127.0.0.1:{ports[1]}",
        }
        servers = (
            processes.start("--fd", str(web.fileno()), fds=[web.fileno()], **words),
            start_gateway(gateway.fileno(), **words),
        )
        with processes.ended(*servers), pytest.MonkeyPatch.context() as patch:
            patch.setenv("API_KEY", made.api_key)
            for port in ports:
                processes.wait_for_server(port)
            yield ports[0]


@pytest.mark.processes
def test_twenty_devices_are_served_whichever_way_they_wait(service, capfd):
    for way in Way:
        with pytest.raises(SystemExit) as ended:
            call_command(
                "stampede",
                devices=20,
                url=f"http://127.0.0.1:{service}",
                json=True,
                deadline=60,
                wait=way,
            )
        written = capfd.readouterr()
        assert ended.value.code == 0, written
        document = json.loads(written.out)
        steps = {name: step["count"] for name, step in document["steps"].items() if step["count"]}
        assert document["served_percent"] == 100
        assert document["transport_errors"] == document["failures"] == {}
        told = {"status", "credentials"} if way is Way.POLL else {"waiting", "pushed"}
        assert {name: steps[name] for name in told | {"ack"}} == dict.fromkeys(told | {"ack"}, 14)
        assert not steps.keys() & ({"status", "credentials", "waiting", "pushed"} - told)
