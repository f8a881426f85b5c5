"""What `make up` starts, but no gateway, on the servers of a comparison; and a stampede on it."""

import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.doors import NotStarted
from bench.gateways import BACKLOG, START_S
from bench.place import Place
from bench.stampede import load
from bench.stampede.usage import Usage, settled
from dev import children, commands, ports
from dev.children import Child
from dev.environment import ROOT
from dev.up import WEB_PROCESSES
from stabilizer.listener import TAKES_CONNECTIONS, listen, share

#: Whoever is told to return later than that gives up at once, so that no run waits for a few.
DEADLINE_S = 60


@dataclass(frozen=True)
class Service:
    """Its web processes, a worker and a shipper."""

    url: str
    env: Mapping[str, str]
    pids: Sequence[int]

    @property
    def api_key(self) -> str:
        return self.env["API_KEY"]

    def stampede(self, devices: int) -> dict[str, Any]:
        """The report of a stampede by HTTP, when what it left behind is done too."""
        with load.started(self, devices=devices, deadline_s=DEADLINE_S) as crowd:
            crowd.wait_until_prepared()
            report = crowd.report()
        self.settle()
        return report

    def settle(self) -> None:
        """Wait until it has nothing to do, though not for ever."""
        settled(lambda: Usage.of(self.pids, None))


@contextmanager
def running(place: Place, env: Mapping[str, str]) -> Iterator[Service]:
    """A new one, with its settings from `env`; it has ended after the block."""
    with ExitStack() as stack:
        listeners = listen(ports.LOOPBACK, 0, BACKLOG, WEB_PROCESSES)
        for listener in listeners:
            stack.enter_context(listener)
        url = f"http://{ports.LOOPBACK}:{listeners[0].getsockname()[1]}"
        env = {**env, "PUBLIC_URL": url}
        started: list[Child] = []
        stack.callback(children.stop, started, 20)
        _start(place, env, listeners, started)
        yield Service(url, env, [child.pid for child in started])


def _start(
    place: Place, env: Mapping[str, str], listeners: Sequence[socket.socket], started: list[Child]
) -> None:
    fds = [each.fileno() for each in listeners]
    schedule = str(place.directory / "beat-schedule")
    modules = [[*commands.WEB, *share(listeners, number)] for number in range(len(listeners))]
    modules += [[*commands.WORKER, "-B", "-s", schedule], [*commands.SHIPPER]]
    for number, module in enumerate(modules):
        log = place.directory / f"service-{number}.log"
        command = [sys.executable, "-m", *module]
        name = " ".join(module[:2])
        started.append(children.start(name, command, log, env=env, cwd=ROOT, pass_fds=fds))
    for child in started[: len(listeners)]:
        until_said(child, TAKES_CONNECTIONS)


def until_said(child: Child, words: str) -> None:
    """Return when it has said so; raises `NotStarted`."""
    deadline = time.monotonic() + START_S
    while not child.said(words):
        if child.status is not None or time.monotonic() > deadline:
            raise NotStarted(f"{child.name}\n{child.last_lines()}")
        time.sleep(0.05)
