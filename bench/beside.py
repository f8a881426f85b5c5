"""Whether HTTP is served as well while thousands wait: the stampede, in turns with and without."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import crowd, gateways
from bench.crowd import Crowd
from bench.doors import NotStarted
from bench.gateways import BACKLOG, START_S, Gateways
from bench.place import MeasureFailed, Place
from bench.rounds import in_turn
from bench.row import Row, at_least
from bench.stampede.usage import Usage, settled
from dev import children, commands, ports
from dev.children import Child
from dev.environment import ROOT
from dev.up import WEB_PROCESSES
from stabilizer.listener import TAKES_CONNECTIONS, listen, share
from stabilizer.stampede.__main__ import EXIT_REFUSED

TURNS = 3
WAITING, QUICK_WAITING = 5_000, 200
DEVICES, QUICK_DEVICES = 1_000, 40
UNIT = "answers per s"
#: Whoever is told to return later than that gives up at once, so that no run waits for a few.
DEADLINE_S = 60


@dataclass(frozen=True)
class Service:
    """What `make up` starts, with as many gateways as there are here."""

    url: str
    env: Mapping[str, str]
    pids: Sequence[int]

    def stampede(self, devices: int) -> dict[str, Any]:
        """The report of a stampede by HTTP, when what it left behind is done too."""
        words = ["--devices", str(devices), "--at-once", "--json", "--url", self.url]
        words += ["--deadline", str(DEADLINE_S)]
        run = subprocess.run(
            [sys.executable, "-m", "stabilizer.stampede", *words],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=5 * DEADLINE_S,
        )
        if run.returncode < 0 or run.returncode == EXIT_REFUSED:
            raise MeasureFailed(f"stampede: {run.stderr}")
        settled(lambda: Usage.of(self.pids, None))
        report: dict[str, Any] = json.loads(run.stdout)
        return report


def rows(place: Place) -> Iterator[Row]:
    """Where figures count, the first stampede of all only warms up."""
    waiting = QUICK_WAITING if place.quick else WAITING
    devices = QUICK_DEVICES if place.quick else DEVICES
    file = crowd.pairings(place, waiting)
    with (
        gateways.running(place) as running,
        _service(place, running) as service,
        crowd.of(place, 1) as waiters,
    ):
        waiters.take(running, file, 0, waiting)
        if not place.quick:
            service.stampede(devices)
        alone = partial(service.stampede, devices)
        reports = in_turn(
            1 if place.quick else TURNS,
            {"beside": partial(_beside, service, waiters, devices), "alone": alone},
        )
    ours, peers = (tuple(map(goodput, reports[name])) for name in ("beside", "alone"))
    name = f"HTTP stampede of {devices:,} with {waiting:,} sockets waiting, to without"
    yield Row(name, UNIT, ours, peers, at_least(0.9), _note(reports))


def goodput(report: Mapping[str, Any]) -> float:
    """Answers per second in the five seconds that had the most of them."""
    return float(report["peak_per_second"])


def _beside(service: Service, waiters: Crowd, devices: int) -> dict[str, Any]:
    waiters.arrive()
    report = service.stampede(devices)
    told = waiters.settle(limit_s=0)
    waiters.leave()
    if told.waiting < told.devices or told.broken:
        raise MeasureFailed(f"not everybody could wait all the time: {told}")
    return report


def _note(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    of_all = [each for of_one in reports.values() for each in of_one]
    share = max(each["load_cpu_s"] / each["took_s"] for each in of_all) / (os.cpu_count() or 1)
    served = {name: min(each["served_percent"] for each in of) for name, of in reports.items()}
    errors = sum(sum(each["transport_errors"].values()) for each in of_all)
    return (
        f"the stampede's load took at most {share:.0%} of the machine; served within "
        f"{DEADLINE_S} s at least {served['beside']:g} % beside and {served['alone']:g} % alone, "
        f"{errors} transport errors"
    )


@contextmanager
def _service(place: Place, running: Gateways) -> Iterator[Service]:
    """Two web processes, a worker and a shipper; they end after the block."""
    with ExitStack() as stack:
        listeners = listen(ports.LOOPBACK, 0, BACKLOG, WEB_PROCESSES)
        for listener in listeners:
            stack.enter_context(listener)
        url = f"http://{ports.LOOPBACK}:{listeners[0].getsockname()[1]}"
        env = {**running.env, "PUBLIC_URL": url}
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
    deadline = time.monotonic() + START_S
    while not all(child.said(TAKES_CONNECTIONS) for child in started[: len(listeners)]):
        ended = [child for child in started if child.status is not None]
        if ended or time.monotonic() > deadline:
            child = (ended or started)[0]
            raise NotStarted(f"{child.name}\n{child.last_lines()}")
        time.sleep(0.05)
