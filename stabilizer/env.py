"""Every setting the environment may give, typed and refused early.

A setting ``NAME`` may also be given as ``NAME_FILE``, a path whose content is the value, which is
how Docker and systemd hand over secrets. Values never appear in a message: they may be secrets.
"""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from stabilizer.database import UnknownDatabase, database

ROOT = Path(__file__).resolve().parent.parent
#: Secrets shorter than this can be guessed; Django's own deploy check asks for 50 characters.
SECRET_CHARACTERS = 50
EXIT_UNUSABLE = 2
UNREADABLE_URL = "the URL cannot be read; write / : @ in a password as %2F %3A %40"
REDIS_SCHEMES = ("redis", "rediss", "unix")


class FileUnreadable(Exception):
    """The file that ``NAME_FILE`` points to cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"{name} points to a file that cannot be read: {reason}")


class FileSource(PydanticBaseSettingsSource):
    """Reads ``NAME_FILE``: the value is that file's content without its last line break."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        try:
            value = Path(path).read_text(encoding="utf-8").rstrip("\n") if path else None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise FileUnreadable(variable, reason) from None
        return value, field_name, False

    def __call__(self) -> dict[str, Any]:
        names = self.settings_cls.model_fields
        values = {name: self.get_field_value(None, name)[0] for name in names}
        return {name: value for name, value in values.items() if value is not None}


def _words(value: Any) -> Any:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _database_url(value: str) -> str:
    try:
        settings = database(value)
    except UnknownDatabase:
        raise ValueError("use a URL that begins with mysql or sqlite") from None
    except ValueError:
        # Python's own message would repeat a part of the URL, which may be of the password.
        raise ValueError(UNREADABLE_URL) from None
    if not settings["NAME"].strip("./"):
        raise ValueError("the URL names no database")
    return value


def _redis_url(value: str) -> str:
    if value and _parts(value).scheme not in REDIS_SCHEMES:
        raise ValueError(f"use a URL that begins with {', '.join(REDIS_SCHEMES)}")
    return value


def _public_url(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("use a whole address, such as https://tv.example.com")
    return value.rstrip("/")


def _optional_url(value: str) -> str:
    return value and _public_url(value)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # The port is read at its first use only.
        _ = parts.port
        return parts
    except ValueError:
        raise ValueError(UNREADABLE_URL) from None


def _log_level(value: str) -> str:
    if value.upper() not in logging.getLevelNamesMapping():
        raise ValueError("use DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return value.upper()


def _time_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("use a name of the time zone database, such as Europe/Madrid")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]


class Env(BaseSettings):
    """The typed environment. ``docs/configuration.md`` explains each name, as a test asserts."""

    model_config = SettingsConfigDict(
        env_file=None,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        case_sensitive=False,
        hide_input_in_errors=True,
    )

    secret_key: SecretStr = Field(
        SecretStr(""), description="signs sessions and forms; 50 characters or more"
    )
    api_key_pepper: SecretStr = Field(
        SecretStr(""), description="HMAC key under which API keys are stored; 50 characters or more"
    )
    keyring_secret: SecretStr = Field(
        SecretStr(""),
        description="root of the keys that sign device codes and seal what is at rest; "
        "50 characters or more",
    )
    audit_signing_secret: SecretStr = Field(
        SecretStr(""), description="root of the key that signs the trail; 50 characters or more"
    )
    metrics_token: SecretStr = Field(
        SecretStr(""), description="bearer token for /metrics from other hosts; empty: none may"
    )
    debug: bool = Field(
        False, description="error pages with details, and secrets made up if absent"
    )
    demo: bool = Field(False, description="the demonstration TV at /demo/tv/")

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        f"sqlite:///{ROOT / '.run' / 'stabilizer.sqlite3'}",
        description="mysql://user:password@host:port/name, or sqlite:///path",
    )
    redis_url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0", description="the server of the limits; noeviction"
    )
    broker_url: RedisUrl = Field("", description="Celery's broker; empty: REDIS_URL")
    cache_url: RedisUrl = Field("", description="the cache; empty: REDIS_URL")

    public_url: Annotated[str, AfterValidator(_public_url)] = Field(
        "http://127.0.0.1:9000", description="the address that screens show to people"
    )
    realtime_url: Annotated[str, AfterValidator(_optional_url)] = Field(
        "",
        description="the public address of the gateway, to whose /ws/ and /sse/ devices connect; "
        "empty: PUBLIC_URL",
    )
    realtime_origins: Words = Field(
        (), description="origins besides PUBLIC_URL whose pages may open a WebSocket"
    )
    allowed_hosts: Words = Field(
        ("127.0.0.1", "localhost", "[::1]"), description="names this service answers to"
    )
    trusted_proxies: Words = Field(
        (),
        description="networks (CIDR) whose X-Forwarded-For is believed; `unix` for a socket's peer",
    )
    https: bool = Field(True, description="served over HTTPS only: secure cookies, HSTS, redirect")

    run_dir: Path = Field(ROOT / ".run", description="spool and state of this host; a local disk")
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "UTC", description="of dates in the admin"
    )
    log_level: Annotated[str, AfterValidator(_log_level)] = Field(
        "INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )

    audit_retention_days: int = Field(
        90,
        ge=1,
        description="how long events are kept, in days; none under a legal hold is dropped",
    )
    audit_checkpoint_dir: Path | None = Field(
        None, description="signed checkpoints of the trail; empty: audit-checkpoints in RUN_DIR"
    )

    slots: int = Field(500, ge=1, description="requests past the gate at once, in the whole fleet")
    background_slots: int = Field(
        10, ge=1, description="of these, what background work may hold at once while there is room"
    )
    threads: int = Field(4, ge=1, le=64, description="threads per web process")
    pin_processes: bool = Field(
        False, description="each web process stays on a CPU of its own, if there is one for each"
    )
    queue_length: int = Field(1500, ge=0, description="waiters per web process")
    queue_wait_ms: int = Field(1500, ge=0, description="longest wait for a slot")
    backlog: int = Field(
        65535, ge=1, le=65535, description="listen backlog; the kernel caps it at somaxconn"
    )
    keep_alive_s: int = Field(75, ge=1, description="how long an idle connection stays open")

    realtime_threads: int = Field(
        2, ge=1, le=64, description="threads per realtime process, for queries and deliveries"
    )
    connections: int = Field(
        10_000, ge=1, description="waiting connections at once, in the whole fleet"
    )
    connections_per_process: int = Field(
        10_000, ge=1, description="waiting connections per realtime process"
    )
    connections_per_client: int = Field(5, ge=1, description="waiting connections per device")
    connections_per_network: int = Field(
        50, ge=1, description="connections per network that have not said hello yet"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSource(settings_cls)


def load() -> Env:
    """The environment; or a message on standard error for whoever set it, and exit status 2."""
    try:
        return Env()
    except ValidationError as error:
        problems = list(_problems(error))
    except FileUnreadable as error:
        problems = [str(error)]
    sys.stderr.write("Stabilizer cannot use its environment.\n")
    sys.stderr.writelines(f"  {problem}\n" for problem in problems)
    sys.stderr.write("docs/configuration.md explains every setting.\n")
    raise SystemExit(EXIT_UNUSABLE)


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(problem["loc"][0])
        message = problem["msg"].removeprefix("Value error, ")
        yield f"{name.upper()}: {message}\n      hint: {Env.model_fields[name].description}"
