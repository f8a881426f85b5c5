"""A gateway's process of the tests' own, and who comes to it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from dev import ports
from tests.pairing.conftest import *  # noqa: F403 - its tenant, devices and callers
from tests.realtime import hurried
from tests.realtime.client import Socket, socket_to
from tests.stabilizer.processes import ended, environment, wait_for_server

OpenSocket = Callable[..., AbstractContextManager[Socket]]


class Gateway:
    """A running process of role `realtime`."""

    def __init__(self, port: int, pid: int, log: Path) -> None:
        self.port = port
        self.pid = pid
        self._log = log
        self._looked_at = 0

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def complaints(self) -> list[str]:
        """What it has logged in this test that somebody would have to look at."""
        lines = self.log[self._looked_at :].splitlines()
        return [line for line in lines if "ERROR" in line or "Traceback" in line]

    def reread(self) -> None:
        """Have it read the keys of this test."""
        known = self.log.count(hurried.REREAD)
        os.kill(self.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while self.log.count(hurried.REREAD) == known:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)
        self._looked_at = len(self.log)


@pytest.fixture(scope="module")
def process(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Real, and in a hurry: see `tests.realtime.hurried`. One for all tests of a module."""
    port, log = ports.free(), tmp_path_factory.mktemp("gateway") / "log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.realtime.hurried", "realtime", "--port", str(port)],
            env=environment(
                TRUSTED_PROXIES="127.0.0.1/32",
                PUBLIC_URL="https://tv.example.com",
                CONNECTIONS_PER_NETWORK="50",
            ),
            stderr=output,
            text=True,
        )
        with ended(process):
            wait_for_server(port)
            yield Gateway(port, process.pid, log)


@pytest.fixture
def gateway(process: Gateway, transactional_db: None, operator: Operator) -> Gateway:  # noqa: F405
    """The gateway on the rows of one test."""
    process.reread()
    return process


@pytest.fixture
def socket(gateway: Gateway) -> OpenSocket:
    return partial(socket_to, gateway.port)
