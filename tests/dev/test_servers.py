"""The private servers of the tests and of `make up`."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dev import ports, servers
from dev.servers import Server, ServerFailed, ServerMissing


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """pytest's own directories are closed to the unprivileged user of MariaDB."""
    with tempfile.TemporaryDirectory(prefix="stabilizer-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("start", [servers.start_redis, servers.start_valkey])
def test_it_answers_keeps_its_keys_and_goes(start: object, tmp_path: Path) -> None:
    assert callable(start)
    server: Server = start(tmp_path)
    with server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": ports.LOOPBACK}
        assert client.config_get("save") == {"save": ""}
    assert server.child.status == 0


@pytest.mark.processes
def test_mariadb_is_strict_private_and_not_root(open_directory: Path) -> None:
    MySQLdb = pytest.importorskip("MySQLdb")  # noqa: N806  the driver's name
    with servers.start_mariadb(open_directory / "mariadb", durable=False) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        connection = MySQLdb.connect(
            host=ports.LOOPBACK, port=port, user="root", db=servers.DATABASE
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT @@character_set_database, @@collation_database, @@tx_isolation,"
                " @@sql_mode, @@bind_address"
            )
            charset, collation, isolation, mode, address = cursor.fetchone()
        owner = pwd.getpwuid(Path(f"/proc/{server.child.pid}").stat().st_uid).pw_name

    assert (charset, collation) == ("utf8mb4", "utf8mb4_unicode_ci")
    assert (isolation, address) == ("READ-COMMITTED", ports.LOOPBACK)
    assert "STRICT_TRANS_TABLES" in mode
    assert os.geteuid() != 0 or owner in servers.UNPRIVILEGED


@pytest.mark.processes
def test_mariadb_starts_in_a_directory_that_is_closed_to_others(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_directory.chmod(0o700)
    monkeypatch.setenv("TMPDIR", str(open_directory))

    with servers.start_mariadb(open_directory / "mariadb", durable=False) as server:
        assert server.child.status is None


def test_a_missing_program_is_refused_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "SBIN", ())

    with pytest.raises(ServerMissing, match="apt install redis-server"):
        servers.start_redis(tmp_path)


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with servers.start_redis(tmp_path / "one") as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(ServerFailed, match="Address already in use"):
            servers.start_valkey(tmp_path / "two", port)
