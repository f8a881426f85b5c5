"""Serving under the real server: keep-alive, pipelining, HEAD, and clients that hang up."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httptools
import pytest
import uvicorn
from django.core import signals

from stabilizer.corked import CorkedProtocol
from stabilizer.pool import LONG_S
from stabilizer.serving import Serving
from tests.stabilizer import serving_views
from tests.stabilizer.serving_views import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    fresh = Stage()
    monkeypatch.setattr(serving_views, "stage", fresh)
    return fresh


@pytest.fixture
def address(settings, stage: Stage) -> Iterator[tuple[str, int]]:
    """Where uvicorn serves the tests' views, in a thread of this process."""
    settings.ROOT_URLCONF = "tests.stabilizer.serving_views"
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["*"]
    settings.TEMPLATES = []
    serving = Serving(threads=2)
    config = uvicorn.Config(
        serving,
        loop="uvloop",
        http=CorkedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield place
        server.should_exit = True
        stage.proceed.set()
        thread.join(10)
    assert not thread.is_alive()
    assert serving.close()


class Connection:
    """A client that sees how answers arrive on one connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=5)
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self._complete = 0
        self._parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.bodies.append(b"")

    def on_headers_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        self.bodies[-1] += data

    def on_message_complete(self) -> None:
        self._complete += 1

    def send(self, *requests: str, method: str = "GET") -> None:
        head = "{} {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.socket.sendall("".join(head.format(method, path) for path in requests).encode())

    def answers(self, count: int) -> list[bytes]:
        while self._complete < count:
            data = self.socket.recv(65536)
            assert data, "the server closed the connection"
            self._parser.feed_data(data)
        return self.bodies


@pytest.fixture
def connect(address) -> Iterator[Callable[[], Connection]]:
    connections: list[Connection] = []

    def connect() -> Connection:
        connections.append(Connection(address))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.socket.close()


def wait(condition, seconds: float = 5) -> None:
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def test_one_connection_carries_many_requests(connect):
    connection = connect()
    for number in range(1, 6):
        connection.send(f"/?name={number}")
        assert connection.answers(number)[-1] == f"Hello {number}!".encode()
    assert connection.statuses == [200] * 5


def test_pipelined_requests_are_answered_in_order(connect):
    connection = connect()
    connection.send(
        "/?name=0", "/file/", "/sync-stream/", "/missing/", "/async-stream/", "/?name=5"
    )
    bodies = connection.answers(6)
    assert connection.statuses == [200, 200, 200, 404, 200, 200]
    assert bodies[0] == b"Hello 0!"
    assert bodies[2] == b"onetwothree"
    assert bodies[4:] == [b"012", b"Hello 5!"]


def test_head_sends_no_body_and_the_connection_goes_on(connect):
    connection = connect()
    for path in ("/", "/large-file/", "/endless/"):
        connection.send(path, method="HEAD")
        answer = connection.socket.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n")
    connection.send("/?name=last")
    assert connection.answers(1) == [b"Hello last!"]


def test_a_path_that_is_not_utf8_is_not_found(connect):
    connection = connect()
    connection.send("/gr%FC/")
    connection.answers(1)
    assert connection.statuses == [404]


def test_a_client_that_hangs_up_ends_its_stream(connect, stage):
    connection = connect()
    connection.send("/endless/")
    connection.socket.recv(65536)
    connection.socket.close()
    wait(lambda: stage.closed == ["numbers"])


def test_a_client_that_hangs_up_while_its_view_runs_leaves_no_request_open(connect, stage):
    finished = []

    def on_finished(**_: object) -> None:
        finished.append(threading.get_ident())

    signals.request_finished.connect(on_finished)
    try:
        connection = connect()
        connection.send("/waits/")
        assert stage.entered.wait(5)
        connection.socket.close()
        stage.proceed.set()
        wait(lambda: stage.closed == ["waits"] and len(finished) == 1)
    finally:
        signals.request_finished.disconnect(on_finished)


def test_an_error_of_the_handler_is_a_500_and_the_next_request_is_served(connect, settings):
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    connection = connect()
    connection.send("/wrong/")
    connection.answers(1)
    assert connection.statuses == [500]
    other = connect()
    other.send("/")
    assert other.answers(1) == [b"Hello World!"]


def test_pipelined_large_files_arrive_whole(connect):
    connection = connect()
    connection.send("/large-file/", "/large-file/")
    assert connection.answers(2) == [bytes(1_000_000)] * 2


async def test_many_connections_at_once_are_all_answered(address):
    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"GET /?name={number} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer.rpartition(b"\r\n\r\n")[2]

    answers = await asyncio.gather(*(one(number) for number in range(300)))
    assert answers == [f"Hello {number}!".encode() for number in range(300)]


@pytest.mark.parametrize("chunks", [[b"a"], [b"one", b"two", b"three"], [bytes(65_536)] * 50, []])
def test_a_view_learns_the_length_of_a_chunked_body(connect, chunks):
    connection = connect()
    head = b"POST /length/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    connection.socket.sendall(head)
    for part in [*sent, b"0\r\n\r\n"]:
        connection.socket.sendall(part)
    length = len(b"".join(chunks))
    assert connection.answers(1) == [f"{length or None} {length}".encode()]


def test_a_client_that_hangs_up_a_moment_before_its_turn_costs_no_view(connect, stage):
    first, second = connect(), connect()
    first.send("/waits/")
    assert stage.entered.wait(5)
    second.send("/waits/")
    second.socket.close()
    # Who computes for so long lets others begin.
    time.sleep(4 * LONG_S)
    stage.proceed.set()
    first.answers(1)
    assert stage.calls == ["waits"]
