"""The load process, the same for every contestant."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

from bench.place import MeasureFailed
from dev.environment import ROOT
from stabilizer.stampede.__main__ import EXIT_REFUSED
from stabilizer.stampede.options import PREPARED

#: For the devices that are paired beforehand, on top of everybody's deadline.
PREPARATION_S = 180


class LoadFailed(MeasureFailed):
    """The load process did not come to its report. Carries what it said."""


class Service(Protocol):
    """Where the crowd goes. `api_key` approves its devices."""

    @property
    def url(self) -> str: ...
    @property
    def api_key(self) -> str: ...


@dataclass
class Load:
    """A crowd on its way."""

    process: subprocess.Popen[str]
    output: IO[str]
    said: str = ""

    def wait_until_prepared(self) -> None:
        """Return in the moment in which everybody arrives. Raises `LoadFailed`."""
        assert self.process.stderr
        for line in self.process.stderr:
            if line.strip() == PREPARED:
                return
            self.said += line
        raise LoadFailed(self.said)

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def report(self) -> dict[str, Any]:
        """`stabilizer.stampede.report.document` of the whole run. Raises `LoadFailed`."""
        assert self.process.stderr
        self.said += self.process.stderr.read()
        status = self.process.wait()
        if status < 0 or status == EXIT_REFUSED:
            raise LoadFailed(self.said or f"ended by signal {-status}")
        self.output.seek(0)
        document: dict[str, Any] = json.load(self.output)
        return document


@contextlib.contextmanager
def started(service: Service, *, devices: int, deadline_s: int) -> Iterator[Load]:
    """Let `devices` devices come; the process is gone after the block, whatever happens in it."""
    command = [sys.executable, "-m", "stabilizer.stampede", "--at-once", "--json"]
    command += ["--devices", str(devices), "--deadline", str(deadline_s), "--url", service.url]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "API_KEY": service.api_key},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
        limit = threading.Timer(PREPARATION_S + deadline_s, process.kill)
        limit.start()
        try:
            yield Load(process, output)
        finally:
            limit.cancel()
            process.kill()
            process.communicate()
