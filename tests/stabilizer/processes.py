"""Server processes of the tests, on the tests' own database and Redis."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from django.conf import settings
from django.db import connection


def database_url() -> str:
    """The tests' database, in the words of DATABASE_URL."""
    place = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite://{place['NAME']}"
    person = quote(place["USER"]) + (f":{quote(place['PASSWORD'])}" if place["PASSWORD"] else "")
    if place["HOST"].startswith("/"):
        return f"mysql://{person}@localhost/{place['NAME']}?socket={place['HOST']}"
    return f"mysql://{person}@{place['HOST']}:{place['PORT'] or 3306}/{place['NAME']}"


#: Has coverage trace a process, which takes a third of its speed. One that is killed tells nothing.
TRACE = "COVERAGE_PROCESS_CONFIG"


def environment(**more: str) -> dict[str, str]:
    """What a process needs to find the same data, and to open what these tests have sealed.

    It is not traced, unless `TRACE` is passed on.
    """
    return {
        **os.environ,
        "DEBUG": "true",
        "HTTPS": "false",
        "ALLOWED_HOSTS": "127.0.0.1 localhost",
        "SECRET_KEY": settings.SECRET_KEY,
        "API_KEY_PEPPER": settings.API_KEY_PEPPER,
        "KEYRING_SECRET": settings.KEYRING_SECRET,
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "RUN_DIR": str(settings.RUN_DIR),
        TRACE: "",
        **more,
    }


def start(*words: str, fds: Sequence[int] = (), **env: str) -> subprocess.Popen[str]:
    """``python -m stabilizer.server web`` with these words; its complaints are at `stderr`."""
    return subprocess.Popen(
        [sys.executable, "-m", "stabilizer.server", "web", *words],
        pass_fds=fds,
        env=environment(**env),
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def ended(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens in the block, the processes are gone afterwards."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def wait_for_server(port: int) -> None:
    for _ in range(1200):
        try:
            get(port, "/healthz")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not come up")
