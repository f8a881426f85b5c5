"""The whole service on MariaDB and Redis, each process of which can be killed and started anew."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from dev import children, commands, environment, ports, servers
from dev.children import Child
from dev.environment import ROOT, Choice
from dev.servers import Server
from stabilizer.listener import TAKES_CONNECTIONS, listen, share

WEB = ("web-1", "web-2")
REALTIME = ("realtime-1", "realtime-2")
PROCESSES = (*WEB, *REALTIME, "worker", "shipper")
BACKLOG = 4096
READY_S = 60
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class NotReady(Exception):
    """Something did not come up. Carries the last lines of its log."""


def connect(url: str) -> Any:
    """A connection of MySQLdb, which commits each statement."""
    driver: Any = import_module("MySQLdb")  # of the `mariadb` extra
    parts = urlsplit(url)
    return driver.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        database=parts.path[1:],
        autocommit=True,
    )


class Stack:
    """Starts with the block and ends with it. Everything is on loopback, on free ports.

    `settings` are added to the environment of its processes.
    """

    def __init__(
        self,
        directory: Path,
        processes: Sequence[str] = PROCESSES,
        settings: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        self.directory = directory
        self.running: dict[str, Child] = {}
        self._processes = processes
        self._settings = settings
        self._sockets = contextlib.ExitStack()
        self._mariadb: Server | None = None
        self._mariadb_port = ports.free()
        self._redis: Server | None = None
        self._redis_port = ports.free()

    @property
    def mariadb_pid(self) -> int:
        assert self._mariadb is not None
        return self._mariadb.child.pid

    @property
    def redis_pid(self) -> int:
        assert self._redis is not None
        return self._redis.child.pid

    def __enter__(self) -> "Stack":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        children.stop(self.running.values())
        for server in (self._redis, self._mariadb):
            if server is not None:
                server.stop()
        self._sockets.close()

    def kill(self, name: str) -> Child:
        """SIGKILL to a process and what it has started; it is gone when this returns."""
        child = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.process.wait()
        return child

    def start(self, name: str) -> None:
        """Start one of `PROCESSES`; it may take a second until it is of use."""
        words, fds = self._words(name)
        log = self.directory / "log" / f"{name}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", *words]
        self.running[name] = children.start(
            name, command, log, env=self.env, cwd=ROOT, pass_fds=fds
        )

    def await_start(self, name: str) -> None:
        """Return once a process that serves devices takes connections; raises `NotReady`."""
        self._await(name, lambda child: child.said(TAKES_CONNECTIONS))

    def restart(self, name: str, patience_s: float = 30) -> int:
        """SIGTERM to a process, wait until it has ended, start it anew; its exit status."""
        child = self.running.pop(name)
        child.process.terminate()
        status = child.process.wait(patience_s)
        self.start(name)
        self.await_start(name)
        return status

    def kill_redis(self) -> None:
        """SIGKILL to Redis, which forgets everything."""
        _kill(self._redis)

    def start_redis(self) -> None:
        """Start Redis, empty, on its port."""
        self._redis = servers.start_redis(self.directory / "redis", self._redis_port)

    def restart_redis(self) -> None:
        """Kill Redis and start it empty on its port."""
        self.kill_redis()
        self.start_redis()

    def restart_mariadb(self) -> None:
        """SIGKILL to MariaDB; start it on what it had on disk, on its port."""
        _kill(self._mariadb)
        self._start_mariadb()

    def ended(self) -> list[Child]:
        """Processes that have ended though nobody killed them."""
        return [child for child in self.running.values() if child.status is not None]

    def _start(self) -> None:
        mariadb = self._start_mariadb()
        self.start_redis()
        self.port, self._web = self._listen(len(WEB))
        self.realtime_port, self._realtime = self._listen(len(REALTIME))
        self.run_dir = self.directory / "run"
        choice = Choice.of(
            {
                "PORT": str(self.port),
                "REALTIME_PORT": str(self.realtime_port),
                "RUN_DIR": str(self.run_dir),
            }
        )
        self.root_url = mariadb.url
        redis_url = f"redis://{ports.LOOPBACK}:{self._redis_port}/0"
        own = environment.environment(choice, self._own_person(mariadb.url), redis_url)
        self.env = own | dict(self._settings)
        self._prepare()
        for name in self._processes:
            self.start(name)
        for name in (*WEB, *REALTIME):
            if name in self.running:
                self.await_start(name)

    def _start_mariadb(self) -> Server:
        started = servers.start_mariadb(self.directory / "mariadb", self._mariadb_port)
        self._mariadb = started
        return started

    def _listen(self, count: int) -> tuple[int, list[socket.socket]]:
        """A free port and `count` sockets on it."""
        listeners = listen(ports.LOOPBACK, 0, BACKLOG, count)
        for listener in listeners:
            self._sockets.enter_context(listener)
        return listeners[0].getsockname()[1], listeners

    def _own_person(self, root_url: str) -> str:
        """The URL of a person who owns the service's database and nothing else."""
        with contextlib.closing(connect(root_url)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER service")
            cursor.execute(f"GRANT ALL ON {servers.DATABASE}.* TO service")
        return root_url.replace("//root@", "//service@")

    def _prepare(self) -> None:
        demo = self.directory / "demo.env"
        log = self.directory / "log" / "prepare.log"
        command = [sys.executable, "-m", "dev.prepare", str(demo)]
        self.running["prepare"] = children.start("prepare", command, log, env=self.env, cwd=ROOT)
        self._await("prepare", lambda child: child.status is not None)
        prepared = self.running.pop("prepare")
        if prepared.status:
            raise NotReady(f"dev.prepare failed:\n{prepared.last_lines()}")
        self.api_key = environment.read(demo)["api_key"]

    def _words(self, name: str) -> tuple[Sequence[str], Sequence[int]]:
        if name in WEB:
            words = [*commands.WEB, *share(self._web, WEB.index(name))]
            return words, [each.fileno() for each in self._web]
        if name in REALTIME:
            words = [*commands.REALTIME, *share(self._realtime, REALTIME.index(name))]
            return words, [each.fileno() for each in self._realtime]
        if name == "worker":
            return [*commands.WORKER, "-B", "-s", str(self.directory / "beat-schedule")], ()
        return commands.SHIPPER, ()

    def _await(self, name: str, ready: Callable[[Child], bool]) -> None:
        child = self.running[name]
        deadline = time.monotonic() + READY_S
        while not ready(child):
            if child.status is not None or time.monotonic() > deadline:
                raise NotReady(f"{name} did not come up:\n{child.last_lines()}")
            time.sleep(0.05)


def _kill(server: Server | None) -> None:
    assert server is not None
    server.child.process.kill()
    server.child.process.wait()
