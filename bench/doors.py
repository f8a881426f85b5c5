"""Servers of one process each, which comparisons load: uvicorn, gunicorn and granian."""

import http.client
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.place import Place
from dev import children, ports
from dev.children import Child
from dev.environment import ROOT

START_S = 60
#: A server that nobody waits for any more may have thousands of requests left.
PATIENCE_S = 2
BACKLOG = "65535"
#: Threads that run Django's code, behind whichever door.
THREADS = "4"
#: Ours writes an answer at once; what stands for an ASGI server alone is uvicorn as it is.
OUR_HTTP = "stabilizer.corked:CorkedProtocol"
BARE = ("nothing", "words")
BIN = Path(sys.executable).parent


class NotStarted(Exception):
    """A server ended, or did not answer in time. Carries the last lines of its log."""


@dataclass(frozen=True)
class Door:
    """A running server."""

    port: int
    child: Child

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used so far, with all its processes."""
        leader = psutil.Process(self.child.pid)
        times = [each.cpu_times() for each in (leader, *leader.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def uvicorn(application: str, place: Place, **env: str) -> AbstractContextManager[Door]:
    """`bench.apps:APPLICATION` on the server that Stabilizer runs on, with its options."""
    port = ports.free()
    command = [str(BIN / "uvicorn"), f"bench.apps:{application}", "--port", str(port)]
    http = "httptools" if application in BARE else OUR_HTTP
    command += ["--loop", "uvloop", "--http", http, "--lifespan", "off"]
    command += ["--backlog", BACKLOG, "--no-access-log", "--log-level", "warning"]
    command += ["--no-proxy-headers", "--no-server-header"]
    return started(f"uvicorn-{application}", command, port, place, on_one_cpu=True, **env)


def gunicorn(application: str, place: Place) -> AbstractContextManager[Door]:
    """A WSGI application in threads, on a server that is Python as uvicorn is."""
    port = ports.free()
    command = [str(BIN / "gunicorn"), f"bench.apps:{application}"]
    command += ["--bind", f"{ports.LOOPBACK}:{port}", "--backlog", BACKLOG, "--keep-alive", "75"]
    command += ["--worker-class", "gthread", "--threads", THREADS, "--log-level", "warning"]
    return started(f"gunicorn-{application}", command, port, place, on_one_cpu=True)


def granian(
    application: str, interface: str, place: Place, **env: str
) -> AbstractContextManager[Door]:
    """An application on a server that is Rust, and that has a door for WSGI and one for ASGI."""
    port = ports.free()
    command = [str(BIN / "granian"), f"bench.apps:{application}", "--port", str(port)]
    command += ["--interface", interface, "--backlog", BACKLOG]
    # Otherwise it would refuse, by itself, what goes beyond its backlog.
    command += ["--backpressure", BACKLOG, "--no-access-log", "--log-level", "warning"]
    command += ["--blocking-threads", THREADS] if interface == "wsgi" else ["--loop", "uvloop"]
    name = f"granian-{application}-{interface}"
    return started(name, command, port, place, on_one_cpu=False, **env)


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    port: int,
    place: Place,
    *,
    on_one_cpu: bool = False,
    **env: str,
) -> Iterator[Door]:
    """Whatever `command` starts, once it answers on `port`. Raises `NotStarted`.

    What is Python in one process is faster `on_one_cpu`, whichever server it is (decision 24).
    """
    log = place.directory / f"{name}.log"
    child = children.start(name, command, log, env=place.measured_env | env, cwd=ROOT)
    if on_one_cpu:
        # Before it has threads, which get what it has.
        os.sched_setaffinity(child.pid, {max(os.sched_getaffinity(0))})
    door = Door(port, child)
    try:
        _wait(door)
        yield door
    finally:
        children.stop([child], PATIENCE_S)


def _wait(door: Door) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(door.port):
        if door.child.status is not None or time.monotonic() > deadline:
            raise NotStarted(f"{door.child.name}\n{door.child.last_lines()}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=START_S)
    with closing(connection):
        try:
            connection.request("GET", "/empty")
            connection.getresponse().read()
        except OSError:
            return False
        return True
