"""One URL to Django's database settings, for the two engines the product runs on."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db import connections

#: A persistent connection per serving thread; a broken one is replaced on its first error.
PERSISTENT: dict[str, Any] = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}
MARIADB = "stabilizer.mariadb"
#: For one row's lock; InnoDB's own 50 s would hold a serving thread longer than its client waits.
LOCK_WAIT_S = 2
#: For one answer of MariaDB, or for it to take a question.
ANSWER_WAIT_S = 10
CONNECT_WAIT_S = 2


class UnknownDatabase(ValueError):
    """The URL's scheme is neither `sqlite` nor `mysql`/`mariadb`."""


def database(url: str) -> dict[str, Any]:
    """Django's settings for ``sqlite:///path`` or ``mysql://user:password@host:port/name``.

    A MariaDB socket is given as ``?socket=/path``. Raises `UnknownDatabase` for any other scheme.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(parts.path)
    if parts.scheme in ("mysql", "mariadb"):
        socket = parts.query.removeprefix("socket=")
        return _mariadb(
            NAME=parts.path.lstrip("/"),
            USER=unquote(parts.username or ""),
            PASSWORD=unquote(parts.password or ""),
            HOST=socket or parts.hostname or "127.0.0.1",
            PORT=str(parts.port or ""),
        )
    raise UnknownDatabase(f"DATABASE_URL: unknown scheme {parts.scheme!r}; use sqlite or mysql")


def limit_waits() -> None:
    """Give up on a MariaDB that does not answer, in each connection this process opens from now on.

    For those that serve requests: a database that hangs must not hold all their threads for good.
    A command such as `migrate` may well wait longer for one answer.
    """
    for alias in connections:
        settings = connections.settings[alias]
        if settings["ENGINE"] == MARIADB:
            settings["OPTIONS"] |= {"read_timeout": ANSWER_WAIT_S, "write_timeout": ANSWER_WAIT_S}


def _sqlite(path: str) -> dict[str, Any]:
    file = Path(path)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file),
        # IMMEDIATE: a writer waits for the lock at BEGIN, instead of failing at its first write.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        # A file, not memory: the tests use threads, and each has a connection.
        "TEST": {"NAME": str(file.with_suffix(".test.sqlite3"))},
        **PERSISTENT,
    }


def _mariadb(**place: str) -> dict[str, Any]:
    return {
        "ENGINE": MARIADB,
        **place,
        "OPTIONS": {
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_WAIT_S,
            "isolation_level": "read committed",
            "init_command": "SET sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION',"
            f" innodb_lock_wait_timeout={LOCK_WAIT_S}",
        },
        "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_unicode_ci"},
        **PERSISTENT,
    }
