"""The WSGI servers start as they are told, and behind HAProxy their clients keep a connection."""

import http.client
import os
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bench.stampede import haproxy, wsgi
from bench.stampede.wsgi import WsgiServer
from dev import children, ports
from stabilizer.env import ROOT

LIMIT_S = 30
#: It is not asked for anything.
DATABASE_URL = "mysql://root@127.0.0.1:1/nothing"


@pytest.mark.processes
@pytest.mark.parametrize(
    "server", [wsgi.sync(1), wsgi.gthread(4, 4), wsgi.granian(4, 4)], ids=lambda server: server.name
)
def test_one_connection_carries_request_after_request(server: WsgiServer, tmp_path: Path) -> None:
    web, front = ports.free(), ports.free()
    words = server.words("bench.unprotected.wsgi:application", web)
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bench.unprotected.settings"}
    env["DATABASE_URL"] = DATABASE_URL
    command = [sys.executable, "-m", *words]
    child = children.start("web", command, tmp_path / "web.log", env=env, cwd=ROOT)
    try:
        with haproxy.start(tmp_path, front, [web], maxconn=server.maxconn):
            wait_for(front)
            with closing(http.client.HTTPConnection(ports.LOOPBACK, front)) as connection:
                answers = [get(connection) for _ in range(3)]
    finally:
        children.stop([child])

    assert [status for status, _ in answers] == [405] * 3
    assert len({address for _, address in answers}) == 1


def get(connection: http.client.HTTPConnection) -> tuple[int, object]:
    connection.request("GET", "/api/v1/pairings/")
    address = connection.sock.getsockname()
    answer = connection.getresponse()
    answer.read()
    return answer.status, address


def wait_for(port: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with closing(http.client.HTTPConnection(ports.LOOPBACK, port, timeout=5)) as connection:
            try:
                if get(connection)[0] == 405:
                    return
            except (OSError, http.client.HTTPException):
                pass
        time.sleep(0.1)
    raise AssertionError("it did not come up")
