"""HAProxy passes requests on, so many at once as it was told; the others wait in its queue."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest

from bench.stampede import haproxy
from dev import ports
from dev.servers import ServerMissing

MAXCONN = 2
LIMIT_S = 10


class Crowded:
    """A WSGI application that answers only when two requests are inside, and counts who is."""

    def __init__(self) -> None:
        self.inside = self.peak = 0
        self._count = threading.Lock()
        self._pair = threading.Barrier(MAXCONN)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/warm":
            start("200 OK", [("Content-Length", "0")])
            return [b""]
        with self._count:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        self._pair.wait(LIMIT_S)
        with self._count:
            self.inside -= 1
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(application: Crowded) -> Iterator[int]:
    with make_server("127.0.0.1", 0, application, Threaded, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/warm").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("HAProxy did not come up")


@pytest.mark.processes
def test_it_queues_what_is_above_maxconn_and_all_are_answered(tmp_path: Path) -> None:
    application = Crowded()
    with (
        served(application) as web,
        haproxy.start(tmp_path, ports.free(), [web], maxconn=MAXCONN) as proxy,
        ThreadPoolExecutor(6) as crowd,
    ):
        wait_for(proxy.url)
        answers = list(crowd.map(httpx.get, [f"{proxy.url}/"] * 6))

    assert [answer.text for answer in answers] == ["ok"] * 6
    assert application.peak == MAXCONN


def test_each_server_has_its_maxconn() -> None:
    written = haproxy.configuration(8000, [8001, 8002], maxconn=3)

    assert "bind 127.0.0.1:8000 " in written
    assert "server web1 127.0.0.1:8001 maxconn 3\n" in written
    assert "server web2 127.0.0.1:8002 maxconn 3\n" in written


def test_a_machine_without_haproxy_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(haproxy, "SBIN", ())

    with pytest.raises(ServerMissing, match="apt install haproxy"):
        haproxy.start(tmp_path, 1, [2], maxconn=1)
