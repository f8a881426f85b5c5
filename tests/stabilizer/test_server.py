"""The web server process: it shares its socket, says what is wrong, and ends in order."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stabilizer import listener
from tests.stabilizer import processes
from tests.stabilizer.processes import get, wait_for_server

pytestmark = pytest.mark.processes

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(transactional_db) -> Iterator[Start]:
    """Starts ``python -m stabilizer.server web`` with these words; ends what still runs."""
    started: list[subprocess.Popen[str]] = []
    # Most of them end in order.
    traced = {processes.TRACE: os.environ.get(processes.TRACE, "")}

    def start(*words: str, **options: Any) -> subprocess.Popen[str]:
        started.append(processes.start(*words, **traced, **options))
        return started[-1]

    yield start
    with processes.ended(*started):
        pass


@pytest.fixture
def shared() -> Iterator[socket.socket]:
    with listener.listen("127.0.0.1", 0, 128)[0] as shared:
        yield shared


@pytest.fixture
def pair() -> Iterator[list[socket.socket]]:
    """The sockets of two processes on one port."""
    listeners = listener.listen("127.0.0.1", 0, 128, count=2)
    yield listeners
    for each in listeners:
        each.close()


def port_of(shared: socket.socket) -> int:
    port: int = shared.getsockname()[1]
    return port


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return port_of(probe)


def open_files(pid: int) -> int:
    line = next(
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    )
    return int(line.split()[3])


def test_it_serves_an_inherited_socket_and_ends_with_zero_on_sigterm(start, shared):
    process = start("--fd", str(shared.fileno()), fds=[shared.fileno()])
    status, headers, body = get(port_of(shared), "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert "server" not in {name.lower() for name in headers}
    assert open_files(process.pid) == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_readyz_sees_database_and_redis_of_the_process(start, shared):
    start("--fd", str(shared.fileno()), fds=[shared.fileno()])
    status, _, body = get(port_of(shared), "/readyz")
    assert status == 200, body


def start_both(start, pair) -> list[subprocess.Popen[str]]:
    """Two servers on one port; both are ready."""
    fds = [each.fileno() for each in pair]
    servers = [start(*listener.share(pair, number), fds=fds) for number in range(2)]
    while 0 in taken_of(12, servers, port_of(pair[0])):
        assert all(server.poll() is None for server in servers)
    return servers


def test_two_processes_share_a_port_and_one_goes_on_when_the_other_ends(start, pair):
    first, second = start_both(start, pair)
    first.terminate()
    assert first.wait(30) == 0
    assert [get(port_of(pair[0]), "/healthz")[0] for _ in range(20)] == [200] * 20
    second.terminate()
    assert second.wait(30) == 0


def test_connections_that_waited_on_a_killed_process_are_served_by_the_other(start, pair):
    first, _second = start_both(start, pair)
    first.send_signal(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        connections = [
            http.client.HTTPConnection("127.0.0.1", port_of(pair[0]), timeout=30) for _ in range(20)
        ]
        for connection in connections:
            stack.callback(connection.close)
            connection.request("GET", "/healthz")
        first.kill()
        assert [connection.getresponse().status for connection in connections] == [200] * 20


def test_connections_that_come_at_once_are_shared_among_the_processes(start, pair):
    servers = start_both(start, pair)
    assert min(taken_of(100, servers, port_of(pair[0]))) >= 20


def taken_of(count: int, servers, port: int) -> list[int]:
    """How many of so many connections that come at once each server takes."""
    deadline = time.monotonic() + 30
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        while sum(taken := [held(server, port) for server in servers]) < count:
            assert time.monotonic() < deadline, f"of {count}, {taken} were taken"
            time.sleep(0.05)
        return taken


def held(server, port: int) -> int:
    """How many connections to `port` a server holds open."""
    return sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
        for each in psutil.Process(server.pid).net_connections("tcp")
    )


def test_it_binds_for_itself_and_runs_as_many_workers_as_asked(start):
    port = free_port()
    process = start("--port", str(port), "--workers", "2")
    wait_for_server(port)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    process.terminate()
    assert process.wait(30) == 0
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_workers_that_are_told_to_end_while_they_start_have_not_failed(start):
    process = start("--port", str(free_port()), "--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) == 0


def test_a_worker_that_dies_ends_the_others_and_is_told_of(start):
    port = free_port()
    process = start("--port", str(port), "--workers", "2")
    wait_for_server(port)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert process.wait(30) == signal.SIGKILL


def test_a_taken_port_is_told_with_its_holder_and_status_70(start, shared):
    process = start("--port", str(port_of(shared)))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 70
    assert f"is taken by pid {os.getpid()}" in errors


def test_settings_that_a_check_refuses_keep_it_from_starting(start, shared):
    process = start(
        "--fd", str(shared.fileno()), fds=[shared.fileno()], DEBUG="false", SECRET_KEY=""
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "SECRET_KEY" in errors


def test_whoever_connected_before_sigterm_and_asks_just_after_is_answered(start, shared):
    process = start("--fd", str(shared.fileno()), fds=[shared.fileno()])
    port = port_of(shared)
    get(port, "/healthz")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as new:
        new.connect()
        deadline = time.monotonic() + 10
        while not held(process, port):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        # It looks for a signal ten times a second.
        time.sleep(0.2)
        new.request("GET", "/healthz")
        assert new.getresponse().status == 200
    assert process.wait(30) == 0


def test_a_request_that_runs_at_sigterm_is_finished(start, shared):
    process = start("--fd", str(shared.fileno()), fds=[shared.fileno()])
    port = port_of(shared)
    get(port, "/healthz")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/api/v1/pairings/")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{")
    time.sleep(0.2)
    process.terminate()
    threading.Timer(0.5, connection.send, (b"}",)).start()
    response = connection.getresponse()
    assert response.status == 400
    assert response.getheader("content-type") == "application/problem+json"
    response.read()
    assert process.wait(30) == 0
