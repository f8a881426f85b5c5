"""What the processes of `make up` find in their environment, and the secrets it makes once."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dev import ports

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("SECRET_KEY", "API_KEY_PEPPER", "KEYRING_SECRET", "AUDIT_SIGNING_SECRET")
DATABASES = ("sqlite", "mariadb")


class UnknownChoice(ValueError):
    """`DB` or `PORT` has a value that `make up` does not know."""


@dataclass(frozen=True)
class Choice:
    """What the caller of `make up` chose: everything has a default."""

    port: int
    #: Of the gateway that devices wait at.
    realtime_port: int
    run_dir: Path
    #: A private MariaDB and Redis instead of SQLite and Valkey.
    mariadb: bool
    database_url: str
    redis_url: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read PORT, REALTIME_PORT, DB, RUN_DIR, DATABASE_URL and REDIS_URL.

        Raises `UnknownChoice`.
        """
        database = environ.get("DB") or "sqlite"
        if database not in DATABASES:
            raise UnknownChoice(
                f"DB={database}: use {' or '.join(DATABASES)}, or give DATABASE_URL"
            )
        port = _port("PORT", environ.get("PORT") or "9000")
        return cls(
            port=port,
            realtime_port=_port("REALTIME_PORT", environ.get("REALTIME_PORT") or str(port + 1)),
            run_dir=Path(environ.get("RUN_DIR") or ROOT / ".run").resolve(),
            mariadb=database == "mariadb",
            database_url=environ.get("DATABASE_URL", ""),
            redis_url=environ.get("REDIS_URL", ""),
        )

    @property
    def base_url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def realtime_url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.realtime_port}"


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise UnknownChoice(f"{name}={text}: use a number from 1 to 65535")
    return int(text)


def environment(choice: Choice, database_url: str, redis_url: str) -> dict[str, str]:
    """The caller's own environment, completed. What he set himself stays, save the addresses."""
    defaults = {
        "HTTPS": "false",
        "DEMO": "true",
        "PIN_PROCESSES": "true",
        "ALLOWED_HOSTS": "127.0.0.1 localhost",
        # The stampede gives each of its devices an address of its own.
        "TRUSTED_PROXIES": "127.0.0.1/32",
        **lasting_secrets(choice.run_dir / "secrets.env"),
    }
    addresses = {
        "DJANGO_SETTINGS_MODULE": "stabilizer.settings",
        "PUBLIC_URL": choice.base_url,
        "REALTIME_URL": choice.realtime_url,
        "RUN_DIR": str(choice.run_dir),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PYTHONUNBUFFERED": "1",
    }
    return defaults | os.environ | addresses


def lasting_secrets(file: Path) -> dict[str, str]:
    """The secrets in `file`; those that are missing are made. Others would void older keys."""
    known = read(file) if file.exists() else {}
    made = {name: secrets.token_urlsafe(48) for name in SECRETS if name not in known}
    if "ADMIN_PASSWORD" not in known:
        made["ADMIN_PASSWORD"] = secrets.token_urlsafe(12)
    if made:
        write_private(file, known | made)
    return known | made


def write_private(file: Path, values: Mapping[str, object]) -> None:
    """Write `NAME=value` lines at once and for this user's eyes only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.writelines(f"{name}={value}\n" for name, value in values.items())
    new.replace(file)


def read(file: Path) -> dict[str, str]:
    """The `NAME=value` lines of `file`."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
