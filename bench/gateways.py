"""The gateway as an installation runs it: processes that share a port, seen from outside."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import psutil

from bench.doors import NotStarted
from bench.place import MeasureFailed, Place
from dev import children, commands, ports
from dev.children import Child
from dev.environment import ROOT
from stabilizer.listener import TAKES_CONNECTIONS, listen, share

PROCESSES = 2
#: The kernel caps it at somaxconn.
BACKLOG = 65535
START_S = 60
#: For the drain, and for what runs then.
PATIENCE_S = 30.0


class Seen(NamedTuple):
    """What the processes hold and have used, together."""

    memory_kb: float
    cpu_s: float


class Gateways:
    """`PROCESSES` gateways, each of which can be ended in order and started anew."""

    def __init__(self, place: Place, listeners: Sequence[socket.socket]) -> None:
        self.port: int = listeners[0].getsockname()[1]
        self.env = {
            **place.env,
            "DJANGO_SETTINGS_MODULE": "stabilizer.settings",
            "REALTIME_URL": f"http://{ports.LOOPBACK}:{self.port}",
        }
        self._directory = place.directory
        self._listeners = listeners
        self._running: dict[int, Child] = {}
        #: Processor time of those that have ended.
        self._ended_cpu_s = 0.0

    @property
    def url(self) -> str:
        return f"ws://{ports.LOOPBACK}:{self.port}/ws/pairings/"

    def seen(self) -> Seen:
        processes = [psutil.Process(child.pid) for child in self._running.values()]
        times = [process.cpu_times() for process in processes]
        memory = sum(process.memory_info().rss for process in processes)
        return Seen(
            memory / 1024, self._ended_cpu_s + sum(each.user + each.system for each in times)
        )

    def start(self) -> None:
        """Return when each takes connections; raises `NotStarted`."""
        for number in range(len(self._listeners)):
            self._start(number)
        for number in range(len(self._listeners)):
            self._await(number)

    def restart(self, number: int) -> int:
        """SIGTERM; when it has ended, anew on its socket. Its status, or `MeasureFailed`."""
        child = self._running[number]
        before_s = _ended_s()
        child.process.terminate()
        try:
            status = child.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise MeasureFailed(f"{child.name} does not end:\n{child.last_lines()}") from None
        self._ended_cpu_s += _ended_s() - before_s
        self._start(number)
        self._await(number)
        return status

    def stop(self) -> None:
        children.stop(self._running.values(), patience_s=PATIENCE_S)

    def _start(self, number: int) -> None:
        command = [sys.executable, "-m", *commands.REALTIME, *share(self._listeners, number)]
        log = self._directory / f"realtime-{number}-{time.monotonic_ns()}.log"
        fds = [each.fileno() for each in self._listeners]
        self._running[number] = children.start(
            f"realtime-{number}", command, log, env=self.env, cwd=ROOT, pass_fds=fds
        )

    def _await(self, number: int) -> None:
        child = self._running[number]
        deadline = time.monotonic() + START_S
        while not child.said(TAKES_CONNECTIONS):
            if child.status is not None or time.monotonic() > deadline:
                raise NotStarted(f"{child.name}\n{child.last_lines()}")
            time.sleep(0.02)


@contextmanager
def running(place: Place) -> Iterator[Gateways]:
    """New ones, on a port of their own."""
    with ExitStack() as stack:
        listeners = listen(ports.LOOPBACK, 0, BACKLOG, PROCESSES)
        for listener in listeners:
            stack.enter_context(listener)
        gateways = Gateways(place, listeners)
        stack.callback(gateways.stop)
        gateways.start()
        yield gateways


def _ended_s() -> float:
    """Processor time of all children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
