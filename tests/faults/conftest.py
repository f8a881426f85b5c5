"""The whole service as processes of its own, for faults that one process cannot show."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from dev.chaos.stack import Stack, connect
from dev.test import temporary_directory
from stabilizer.env import ROOT

#: Faults last 20 s instead of a few, and what follows a minute later is waited for.
LONG = os.environ.get("FAULTS") == "long"


class Reply(NamedTuple):
    status: int
    document: dict[str, Any]
    request_id: str
    retry_after_s: int = 0


class Service:
    """A running `Stack`, and what a test asks of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def post(
        self, path: str, body: object, *, bearer: str = "", headers: dict[str, Any] | None = None
    ) -> Reply:
        return self._ask("POST", path, json.dumps(body), bearer, headers or {})

    def get(self, path: str, *, bearer: str = "") -> Reply:
        return self._ask("GET", path, None, bearer, {})

    def create(self, number: int, **headers: Any) -> Reply:
        """A device of that number asks for a code."""
        body = {"app_type": "tv", "udid": f"fault-device-{number:06d}", "model": "TV"}
        headers["X-Forwarded-For"] = f"10.{9 + number // 250}.{number % 250}.1"
        return self.post("/api/v1/pairings/", body, headers=headers)

    def approve(self, number: int, created: Reply) -> Reply:
        body = {
            "user_code": created.document["user_code"],
            "subscriber_code": f"S{number:06d}",
            "sn": f"SC{number:06d}0001",
        }
        return self.post("/api/v1/pairings/associate/", body, bearer=self.stack.api_key)

    def sql(self, statement: str, *values: object, root: bool = False) -> list[tuple[Any, ...]]:
        url = self.stack.root_url if root else self.stack.env["DATABASE_URL"]
        with closing(connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def manage(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """The exit status, and the JSON lines, of `manage.py audit`."""
        command = [sys.executable, "-m", "manage", "audit", *words, "--json"]
        run = subprocess.run(
            command, cwd=ROOT, env=self.stack.env, capture_output=True, text=True, check=False
        )
        assert run.stdout or not run.stderr, run.stderr
        return run.returncode, [json.loads(line) for line in run.stdout.splitlines()]

    def events(self, request_id: str) -> list[str]:
        """The actions of a request, as soon as there is one."""
        found = "SELECT action FROM audit_event WHERE request_id = %s ORDER BY id"
        self.await_(lambda: bool(self.sql(found, request_id)), f"events of {request_id}")
        return [action for (action,) in self.sql(found, request_id)]

    def logs(self, name: str) -> str:
        """All that the processes of that name have said."""
        logs = sorted((self.stack.directory / "log").glob(f"{name}*.log"))
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)

    def await_(self, reached: Callable[[], bool], what: str, limit_s: float = 40) -> None:
        deadline = time.monotonic() + limit_s
        while not reached():
            assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
            time.sleep(0.1)

    def _ask(
        self, method: str, path: str, body: str | None, bearer: str, headers: dict[str, Any]
    ) -> Reply:
        said: dict[str, Any] = {"Content-Type": "application/json", **headers}
        if bearer:
            said["Authorization"] = f"Bearer {bearer}"
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=30)
        with closing(connection):
            connection.request(method, path, body, said)
            answer = connection.getresponse()
            content = answer.read()
            document = json.loads(content) if content.startswith(b"{") else {}
            retry_after_s = int(answer.getheader("Retry-After") or 0)
            request_id = answer.getheader("X-Request-ID", "")
            return Reply(answer.status, document, request_id, retry_after_s)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with temporary_directory() as directory, Stack(directory) as stack:
        yield Service(stack)
