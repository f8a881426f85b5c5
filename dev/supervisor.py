"""Starts processes one after the other, watches them, and stops all of them together."""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from dev import children
from dev.children import Child
from dev.environment import ROOT
from dev.servers import Server

STEP_S = 120


class Interrupted(Exception):
    """Somebody asked this process to stop."""


class ChildDied(Exception):
    """A process that should run has ended. Carries the last lines of its log."""

    def __init__(self, child: Child) -> None:
        self.child = child
        super().__init__(
            f"{child.name} ended with status {child.status}; its log {child.log} ends with\n"
            f"{child.last_lines()}"
        )


class NotReady(Exception):
    """A condition did not come true in time."""


class AlreadyRunning(Exception):
    """Another supervisor works in the same directory. Carries what it wrote about itself."""


@dataclass
class Supervisor:
    """The processes of one `make up`. Nothing here starts a thread: signals only set a flag."""

    log_dir: Path
    services: list[Child] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    asked_to_stop: bool = False

    def obey_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_stop = True

    def add(self, server: Server) -> Server:
        self.servers.append(server)
        self._look()
        return server

    def start(
        self, name: str, module: Sequence[str], env: Mapping[str, str], fds: Sequence[int] = ()
    ) -> Child:
        """Start a service that must run until the end: `python -m` with these words."""
        command = [sys.executable, "-m", *module]
        log = self.log_dir / f"{name}.log"
        child = children.start(name, command, log, env=env, cwd=ROOT, pass_fds=fds)
        self.services.append(child)
        return child

    def run(self, name: str, module: Sequence[str], env: Mapping[str, str]) -> None:
        """Run one step to its end. Raises `ChildDied` unless it succeeds."""
        step = self.start(name, module, env)
        self.services.remove(step)
        try:
            self.wait_for(lambda: step.status is not None, f"{name} to end")
        finally:
            children.stop([step])
        if step.status != 0:
            raise ChildDied(step)

    def wait_for(self, condition: Callable[[], bool], what: str, limit_s: float = STEP_S) -> None:
        """Return when `condition` holds; raise when something else happens first."""
        deadline = time.monotonic() + limit_s
        while not condition():
            self._look()
            if time.monotonic() > deadline:
                raise NotReady(f"waited {limit_s:.0f} s for {what}; the logs are in {self.log_dir}")
            time.sleep(0.05)

    def watch(self) -> None:
        """Stay until somebody asks to stop, or raise `ChildDied` when a process ends by itself."""
        while True:
            self._look()
            time.sleep(0.2)

    def stop(self) -> list[Child]:
        """Stop the services, then the servers they use. Returns those that had to be killed."""
        late = children.stop(reversed(self.services), patience_s=10)
        for server in reversed(self.servers):
            server.stop()
        return late

    def _look(self) -> None:
        if self.asked_to_stop:
            raise Interrupted
        for child in [*self.services, *(server.child for server in self.servers)]:
            if child.status is not None:
                raise ChildDied(child)


@contextlib.contextmanager
def sole(lock_file: Path, identity: str) -> Iterator[None]:
    """Hold `lock_file` for the block, with `identity` in it for others to read.

    Raises `AlreadyRunning` when another process holds it. The kernel lets go when that one dies.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(file.read().strip()) from None
        file.truncate(0)
        file.write(identity)
        file.flush()
        yield
