"""System checks: a configuration that would lose records, limits or secrets is refused with a hint.

E001-E003, E007  a secret is missing or too short  E004  MariaDB's charset, mode or isolation
E005       a trusted proxy is no network         E006  Redis may evict keys
W001       SQLite outside its one use            W002  people are shown an address without HTTPS
"""

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from redis.backoff import NoBackoff
from redis.retry import Retry

from stabilizer.env import SECRET_CHARACTERS
from stabilizer.gate.address import UNIX_SOCKET

REDIS_TIMEOUT_S = 1.0
SECRETS = {
    "E001": ("SECRET_KEY", "sessions and forms could be forged"),
    "E002": ("API_KEY_PEPPER", "API keys could be guessed from a copy of the database"),
    "E003": ("KEYRING_SECRET", "device codes could be forged and sealed credentials opened"),
    "E007": ("AUDIT_SIGNING_SECRET", "whoever changes the trail could sign it anew"),
}


@register(Tags.security)
def secrets_are_given(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001, E002, E003, E007: outside DEBUG no secret has a default."""
    if settings.DEBUG:
        return []
    return [
        Error(
            f"{name} is missing, or shorter than {SECRET_CHARACTERS} characters: {risk}.",
            hint=f"Set {name} or {name}_FILE to the output of `openssl rand -base64 48`.",
            id=f"stabilizer.{number}",
        )
        for number, (name, risk) in SECRETS.items()
        if len(_secret(name)) < SECRET_CHARACTERS
    ]


@register(Tags.security)
def trusted_proxies_are_networks(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E005: whoever is in TRUSTED_PROXIES decides which address a limit counts."""
    return [
        Error(
            f"TRUSTED_PROXIES: {word!r} is not a network.",
            hint=f"Use CIDR without host bits, such as 10.0.0.0/8, or the word {UNIX_SOCKET}.",
            id="stabilizer.E005",
        )
        for word in settings.TRUSTED_PROXIES
        if word != UNIX_SOCKET and not _is_network(word)
    ]


@register(Tags.database)
def mariadb_is_strict(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E004: what MariaDB would truncate, mangle or read stale without a word."""
    return [
        Error(
            f"MariaDB ({alias}): {problem}.",
            hint="Start MariaDB with --character-set-server=utf8mb4 "
            "--collation-server=utf8mb4_unicode_ci, and create the database with that charset.",
            id="stabilizer.E004",
        )
        for alias in databases or ()
        if connections[alias].vendor == "mysql"
        for problem in _mariadb_problems(alias)
    ]


@register(Tags.database)
def redis_keeps_its_keys(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E006: an evicted key is a fresh quota. A server that cannot be asked now is not judged."""
    policy = _eviction_policy(settings.REDIS_URL) if databases else None
    if policy in (None, "noeviction"):
        return []
    return [
        Error(
            f"The Redis server of the limits evicts keys when its memory is full ({policy}).",
            hint="Set maxmemory-policy noeviction; CACHE_URL can name a server of its own.",
            id="stabilizer.E006",
        )
    ]


@register(Tags.database, deploy=True)
def sqlite_is_embedded(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001: SQLite serves one host, from its run directory."""
    name = Path(str(settings.DATABASES["default"]["NAME"]))
    is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    if not is_sqlite or name.is_relative_to(settings.RUN_DIR):
        return []
    return [
        Warning(
            "SQLite outside RUN_DIR: its locks work on one host and a local disk only.",
            hint="Use MariaDB (DATABASE_URL=mysql://...), or leave DATABASE_URL unset.",
            id="stabilizer.W001",
        )
    ]


@register(Tags.security, deploy=True)
def people_see_https(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W002: screens show PUBLIC_URL, and people type their password there."""
    if settings.PUBLIC_URL.startswith("https://"):
        return []
    return [
        Warning(
            "PUBLIC_URL does not begin with https://, and screens send people there to log in.",
            hint="Set PUBLIC_URL to the address of the proxy that terminates TLS.",
            id="stabilizer.W002",
        )
    ]


def _secret(name: str) -> str:
    try:
        return str(getattr(settings, name))
    except ImproperlyConfigured:
        # Django refuses to hand out an empty SECRET_KEY.
        return ""


def _is_network(word: str) -> bool:
    try:
        ip_network(word)
    except ValueError:
        return False
    return True


def _mariadb_problems(alias: str) -> list[str]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT @@character_set_database, @@sql_mode, @@tx_isolation")
        charset, mode, isolation = cursor.fetchone()
    found = {
        f"the database's charset is {charset}, not utf8mb4": charset != "utf8mb4",
        "strict mode is off, so values too long are cut": "STRICT_" not in mode,
        f"the isolation level is {isolation}, not READ-COMMITTED": isolation != "READ-COMMITTED",
    }
    return [problem for problem, is_true in found.items() if is_true]


def _eviction_policy(url: str) -> str | None:
    client = redis.Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    try:
        with client:
            return str(client.info("memory")["maxmemory_policy"])
    except (redis.RedisError, OSError, KeyError):
        return None
