"""`make test`: every check and every test, on private MariaDB, Redis and Valkey servers.

`python -m dev.test --static` runs the part that needs no server, as `make check` does.
"""

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dev import servers
from dev.environment import ROOT, SECRETS

BIN = Path(sys.executable).parent
PYTHON = sys.executable
WORKERS = "2"
EMBEDDED_TESTS = ("tests/pairing", "tests/ratelimit", "tests/stabilizer/gate")
TEST_ENV = {"DEBUG": "true", "HTTPS": "false"}


class StepFailed(Exception):
    """A step ended with another status than 0. It has said why on the terminal."""


@dataclass(frozen=True)
class Step:
    name: str
    command: tuple[str, ...]

    def run(self, env: Mapping[str, str]) -> None:
        """Run it and print its name and duration. Raises `StepFailed`."""
        print(f"--- {self.name}", flush=True)
        started = time.monotonic()
        status = subprocess.run(self.command, cwd=ROOT, env={**os.environ, **env}).returncode
        took = f"{time.monotonic() - started:.1f} s"
        if status:
            raise StepFailed(f"failed: {self.name} (status {status}, {took})")
        print(f"    {self.name}: {took}", flush=True)


FORMAT = Step("format", (str(BIN / "ruff"), "format", "--check"))
LINT = Step("lint", (str(BIN / "ruff"), "check"))
TYPES = Step("types", (str(BIN / "mypy"), "."))
IMPORTS = Step("import contracts", (str(BIN / "lint-imports"),))
MIGRATIONS = Step("migrations", (PYTHON, "manage.py", "makemigrations", "--check", "--dry-run"))
DEPLOY = Step(
    "check --deploy",
    (PYTHON, "manage.py", "check", "--deploy", "--fail-level", "WARNING", "--database", "default"),
)
PYTEST = (PYTHON, "-m", "coverage", "run", "-m", "pytest", "-q")
PARALLEL = ("-n", WORKERS, "--dist", "loadfile")
ON_MARIADB = Step("tests on MariaDB and Redis", (*PYTEST, *PARALLEL, "-m", "not processes"))
ON_PROCESSES = Step(
    "tests of whole processes", (*PYTEST, *PARALLEL, "-m", "processes and not alone")
)
ALONE = Step("tests of whole processes that measure", (*PYTEST, "-m", "alone"))
EMBEDDED = Step(
    "tests on SQLite and Valkey",
    (*PYTEST, *PARALLEL, "-m", "embedded and not processes", *EMBEDDED_TESTS),
)
ERASE = Step("forget older coverage", (PYTHON, "-m", "coverage", "erase"))
COMBINE = Step("combine coverage", (PYTHON, "-m", "coverage", "combine", "--quiet"))
COVERAGE = Step("coverage", (PYTHON, "-m", "coverage", "report"))


def main() -> int:
    """Run all steps, in the order in which they fail soonest. The status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m dev.test", description=main.__doc__)
    parser.add_argument("--static", action="store_true", help="only what needs no server")
    only_static = parser.parse_args().static
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        with temporary_directory() as directory:
            static(directory)
            if not only_static:
                dynamic(directory)
    except StepFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except (servers.ServerMissing, servers.ServerFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(f"all passed in {time.monotonic() - started:.0f} s")
    return 0


def static(directory: Path) -> None:
    env = {**TEST_ENV, "DATABASE_URL": f"sqlite:///{directory / 'static.sqlite3'}"}
    for step in (FORMAT, LINT, TYPES, IMPORTS, MIGRATIONS):
        step.run(env)


def dynamic(directory: Path) -> None:
    """What needs servers: the deploy check, all tests, and what they cover."""
    ERASE.run({})
    with (
        servers.start_mariadb(directory / "mariadb", durable=False) as mariadb,
        servers.start_redis(directory / "redis") as redis,
    ):
        addresses = {"DATABASE_URL": mariadb.url, "REDIS_URL": redis.url}
        DEPLOY.run({**production(directory), **addresses})
        ON_MARIADB.run({**TEST_ENV, **addresses})
        ON_PROCESSES.run({**TEST_ENV, **addresses})
        ALONE.run({**TEST_ENV, **addresses})
    with servers.start_valkey(directory / "valkey") as valkey:
        database_url = f"sqlite:///{directory / 'embedded.sqlite3'}"
        EMBEDDED.run({**TEST_ENV, "DATABASE_URL": database_url, "REDIS_URL": valkey.url})
    COMBINE.run({})
    COVERAGE.run({})


def production(directory: Path) -> dict[str, str]:
    """The environment of an installation that people use."""
    return {
        "DEBUG": "false",
        "HTTPS": "true",
        "PUBLIC_URL": "https://tv.example.com",
        "ALLOWED_HOSTS": "tv.example.com",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "RUN_DIR": str(directory),
        **{name: secrets.token_urlsafe(48) for name in SECRETS},
    }


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that the unprivileged user of MariaDB can enter too."""
    with tempfile.TemporaryDirectory(prefix="stabilizer-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
