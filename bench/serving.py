"""Django's stock ASGI handler against our pool of threads: one process each."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.load import Load
from dev import children, ports
from dev.environment import ROOT

DOORS = {
    "the server alone, no Django": "nothing",
    "Django's ASGI handler": "stock",
    "Stabilizer's pool": "pooled",
}
STEADY = (32, 3_000)
CROWD = 1_000
#: One query, four rows.
PATH = "/api/v1/subscribers/?search=S00001"


@dataclass(frozen=True)
class Row:
    door: str
    steady: Load
    crowd: Load


def rows(env: dict[str, str], api_key: str, directory: Path) -> Iterator[Row]:
    """Each door under 32 steady clients, then 1,000 that come in one moment."""
    headers = f"Authorization: Bearer {api_key}\r\n"
    for name, application in DOORS.items():
        with _server(application, env, directory) as port:
            asyncio.run(load.run(port, PATH, 4, 200, headers))
            steady = asyncio.run(load.run(port, PATH, *STEADY, headers))
            crowd = asyncio.run(load.run(port, PATH, CROWD, CROWD, headers))
            yield Row(name, steady, crowd)


@contextmanager
def _server(application: str, env: dict[str, str], directory: Path) -> Iterator[int]:
    port = ports.free()
    command = [sys.executable, "-m", "uvicorn", f"bench.apps:{application}", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    command += ["--backlog", "65535", "--no-access-log", "--log-level", "warning"]
    log = directory / f"{application}.log"
    child = children.start(application, command, log, env={**os.environ, **env}, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while asyncio.run(load.run(port, PATH, 1, 1)).errors:
            if child.status is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{application} did not start\n{child.last_lines()}")
            time.sleep(0.1)
        yield port
    finally:
        children.stop([child])
