"""`make up`: the whole service on this machine, with demonstration data, until Ctrl-C.

It takes the ports first and hands their sockets to the web processes and the gateway. Everything it
starts has its log in .run/log, and ends with it.
"""

import contextlib
import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from rich.console import Console

from dev import commands, environment, ports, servers, welcome
from dev.children import Child
from dev.environment import Choice
from dev.supervisor import (
    AlreadyRunning,
    ChildDied,
    Interrupted,
    NotReady,
    Supervisor,
    sole,
)
from stabilizer.listener import TAKES_CONNECTIONS, PortTaken, listen, share

#: As in sysexits.h: something inside is not as it should be, here the port.
EX_SOFTWARE = 70
WEB_PROCESSES = 2
#: The kernel caps it at somaxconn.
BACKLOG = 65535


class Doors(NamedTuple):
    """The sockets that devices connect to, bound before anything is started."""

    web: Sequence[socket.socket]
    gateway: socket.socket

    @classmethod
    def open(cls, choice: Choice) -> Self:
        """Listen on both ports. Raises `PortTaken`."""
        web = listen(ports.LOOPBACK, choice.port, BACKLOG, WEB_PROCESSES)
        try:
            return cls(web, listen(ports.LOOPBACK, choice.realtime_port, BACKLOG)[0])
        except PortTaken:
            cls(web, web[0]).close()
            raise

    def close(self) -> None:
        for each in (*self.web, self.gateway):
            each.close()


@dataclass(frozen=True)
class Up:
    """One run of `make up`: the stages from an empty directory to a healthy service."""

    choice: Choice
    doors: Doors
    supervisor: Supervisor
    console: Console

    @property
    def state_file(self) -> Path:
        return self.choice.run_dir / "up.env"

    @property
    def demo_file(self) -> Path:
        return self.choice.run_dir / "demo.env"

    def start(self) -> dict[str, str]:
        """Start everything and wait until it is healthy. Returns what the demo reported."""
        with self._stage("database and Redis"):
            database_url, redis_url = self._start_servers()
        env = environment.environment(self.choice, database_url, redis_url)
        with self._stage("schema and demonstration data"):
            self.supervisor.run("prepare", ["dev.prepare", str(self.demo_file)], env)
        with self._stage("web processes, gateway, worker"):
            web, realtime, worker, shipper = self._start_services(env)
            self.supervisor.wait_for(
                lambda: all(each.said(TAKES_CONNECTIONS) for each in (*web, realtime)),
                "the web processes and the gateway",
            )
            self.supervisor.wait_for(self._healthy, "/readyz")
        demo = environment.read(self.demo_file)
        self._describe(
            API_KEY=demo["api_key"],
            ADMIN_USER=demo["admin_user"],
            ADMIN_PASSWORD=env["ADMIN_PASSWORD"],
            DATABASE_URL=database_url,
            REDIS_URL=redis_url,
            WEB_PIDS=" ".join(str(child.pid) for child in web),
            REALTIME_URL=self.choice.realtime_url,
            REALTIME_PID=realtime.pid,
            WORKER_PID=worker.pid,
            SHIPPER_PID=shipper.pid,
        )
        return demo | {"admin_password": env["ADMIN_PASSWORD"]}

    def stop(self) -> None:
        self.state_file.unlink(missing_ok=True)
        for child in self.supervisor.stop():
            self.console.print(f"{child.name} did not stop in time and was killed")

    def _start_services(self, env: dict[str, str]) -> tuple[list[Child], Child, Child, Child]:
        listeners = self.doors.web
        fds = [each.fileno() for each in listeners]
        web = [
            self.supervisor.start(
                f"web-{number + 1}", [*commands.WEB, *share(listeners, number)], env, fds
            )
            for number in range(WEB_PROCESSES)
        ]
        gateway = self.doors.gateway.fileno()
        realtime = self.supervisor.start(
            "realtime", [*commands.REALTIME, "--fd", str(gateway)], env, [gateway]
        )
        schedule = str(self.choice.run_dir / "beat-schedule")
        worker = self.supervisor.start("worker", [*commands.WORKER, "-B", "-s", schedule], env)
        shipper = self.supervisor.start("shipper", commands.SHIPPER, env)
        return web, realtime, worker, shipper

    def _start_servers(self) -> tuple[str, str]:
        choice, run_dir = self.choice, self.choice.run_dir
        database_url = choice.database_url or f"sqlite:///{run_dir / 'stabilizer.sqlite3'}"
        redis_url = choice.redis_url
        if choice.mariadb and not choice.database_url:
            database_url = self.supervisor.add(servers.start_mariadb(run_dir / "mariadb")).url
        if not redis_url:
            start = servers.start_redis if choice.mariadb else servers.start_valkey
            redis_url = self.supervisor.add(start(run_dir / "redis")).url
        return database_url, redis_url

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.console.print(f"{name:<32}{time.monotonic() - started:5.1f} s", highlight=False)

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(ports.LOOPBACK, self.choice.port, timeout=2)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def _describe(self, **facts: object) -> None:
        own = {"BASE_URL": self.choice.base_url, "UP_PID": os.getpid()}
        environment.write_private(self.state_file, own | facts)


def main() -> int:
    """Run until asked to stop. Returns the exit status: 0 stopped, 1 failed, 2 misused, 70 busy."""
    started = time.monotonic()
    console = Console()
    try:
        choice = Choice.of(os.environ)
        identity = f"process {os.getpid()} at {choice.base_url}"
        with contextlib.ExitStack() as stack:
            doors = stack.enter_context(contextlib.closing(Doors.open(choice)))
            stack.enter_context(sole(choice.run_dir / "up.lock", identity))
            return _serve(choice, doors, console, started)
    except environment.UnknownChoice as error:
        return _fail(error, 2)
    except PortTaken as taken:
        hint = f"Stop it, or take other ones: make up PORT={taken.port + 2}"
        return _fail(f"{taken.strerror}\n{hint}", EX_SOFTWARE)
    except AlreadyRunning as error:
        return _fail(f"`make up` already runs in this directory: {error}", EX_SOFTWARE)


def _serve(choice: Choice, doors: Doors, console: Console, started: float) -> int:
    supervisor = Supervisor(choice.run_dir / "log")
    supervisor.obey_signals()
    up = Up(choice, doors, supervisor, console)
    try:
        demo = up.start()
        welcome.show(console, choice, demo, time.monotonic() - started)
        supervisor.watch()
    except Interrupted:
        console.print("stopping")
    except (ChildDied, NotReady, servers.ServerMissing, servers.ServerFailed) as error:
        return _fail(error, 1)
    finally:
        up.stop()
    return 0


def _fail(error: object, status: int) -> int:
    print(error, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
