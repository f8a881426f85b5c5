"""A contestant: how it is started, and what is known of it while it runs."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.stampede.usage import Usage
from dev.supervisor import Supervisor


@dataclass(frozen=True)
class Running:
    """A contestant that is up. `api_key` approves its devices."""

    url: str
    api_key: str
    supervisor: Supervisor

    @property
    def web_pids(self) -> list[int]:
        """The processes that answer requests with Python."""
        services = self.supervisor.services
        return [child.pid for child in services if child.name.startswith("web-")]

    def usage(self) -> Usage:
        """Of everything that works for the service: databases and proxies too."""
        started = [server.child for server in self.supervisor.servers]
        pids = [child.pid for child in (*self.supervisor.services, *started)]
        urls = [server.url for server in self.supervisor.servers]
        return Usage.of(pids, next((url for url in urls if url.startswith("mysql:")), None))


Start = Callable[[Supervisor, Path], Running]


@dataclass(frozen=True)
class Contestant:
    """`settings` say how it is set up, for whoever doubts that it had a fair chance."""

    name: str
    title: str
    settings: str
    start: Start
    #: From its arrival until a device gives up.
    deadline_s: int = 300

    @contextlib.contextmanager
    def running(self, directory: Path) -> Iterator[Running]:
        """Start it below `directory`, wait until it answers, and stop it after the block."""
        supervisor = Supervisor(directory / "log")
        try:
            yield self.start(supervisor, directory)
        finally:
            supervisor.stop()
