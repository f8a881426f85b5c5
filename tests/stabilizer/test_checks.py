"""System checks: silent on a sound configuration; each speaks, with a hint, on its own fault."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.core import checks as django_checks
from django.db import connection
from pytest_django import Settings

from stabilizer import checks

Check = Callable[..., list[django_checks.CheckMessage]]
SECRETS = ("SECRET_KEY", "API_KEY_PEPPER", "KEYRING_SECRET")


def ids(messages: list[django_checks.CheckMessage]) -> list[str | None]:
    assert all(message.hint for message in messages), "a check without a hint"
    return [message.id for message in messages]


@pytest.fixture
def production(settings: Settings) -> Settings:
    settings.DEBUG = False
    for name in SECRETS:
        setattr(settings, name, secrets.token_urlsafe(48))
    return settings


def test_good_secrets_pass(production: Settings) -> None:
    assert checks.secrets_are_given(None) == []


@pytest.mark.parametrize(("name", "number"), [*zip(SECRETS, ("E001", "E002", "E003"), strict=True)])
@pytest.mark.parametrize("value", ["", "x" * 49])
def test_a_missing_or_short_secret_is_refused(
    production: Settings, name: str, number: str, value: str
) -> None:
    setattr(production, name, value)

    assert ids(checks.secrets_are_given(None)) == [f"stabilizer.{number}"]


def test_a_short_secret_is_not_shown(production: Settings) -> None:
    production.SECRET_KEY = "hunter2"

    assert "hunter2" not in str(checks.secrets_are_given(None))


def test_debugging_needs_no_secrets(production: Settings) -> None:
    production.DEBUG = True
    production.KEYRING_SECRET = ""

    assert checks.secrets_are_given(None) == []


@pytest.mark.parametrize("word", ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "unix"])
def test_networks_may_be_trusted(settings: Settings, word: str) -> None:
    settings.TRUSTED_PROXIES = [word]

    assert checks.trusted_proxies_are_networks(None) == []


@pytest.mark.parametrize("word", ["*", "proxy.example.com", "10.0.0.1/8"])
def test_what_is_no_network_is_not_trusted(settings: Settings, word: str) -> None:
    settings.TRUSTED_PROXIES = [word]

    assert ids(checks.trusted_proxies_are_networks(None)) == ["stabilizer.E005"]


@pytest.fixture
def mariadb(db: None) -> None:
    if connection.vendor != "mysql":
        pytest.skip("asks MariaDB")


def test_the_tests_own_mariadb_passes(mariadb: None) -> None:
    assert checks.mariadb_is_strict(None, databases=["default"]) == []


@pytest.mark.parametrize(
    ("statement", "restore"),
    [
        ("SET sql_mode=''", "SET sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'"),
        ("SET character_set_database='latin1'", "SET character_set_database='utf8mb4'"),
        (
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ),
    ],
    ids=["mode", "charset", "isolation"],
)
def test_a_lax_mariadb_is_refused(mariadb: None, statement: str, restore: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        try:
            assert ids(checks.mariadb_is_strict(None, databases=["default"])) == ["stabilizer.E004"]
        finally:
            cursor.execute(restore)


def test_no_server_is_asked_unless_databases_are_checked() -> None:
    assert checks.mariadb_is_strict(None) == []
    assert checks.redis_keeps_its_keys(None) == []


@pytest.fixture
def evicting_redis(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    yield redis_client
    redis_client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_evicts_is_refused(evicting_redis: redis.Redis) -> None:
    assert ids(checks.redis_keeps_its_keys(None, databases=["default"])) == ["stabilizer.E006"]


def test_a_redis_that_keeps_its_keys_passes(redis_client: redis.Redis) -> None:
    assert checks.redis_keeps_its_keys(None, databases=["default"]) == []


def test_a_redis_that_is_away_is_not_judged(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert checks.redis_keeps_its_keys(None, databases=["default"]) == []


def sqlite_at(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", str(file))


def test_sqlite_in_the_run_directory_is_the_embedded_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sqlite_at(monkeypatch, settings.RUN_DIR / "stabilizer.sqlite3")

    assert checks.sqlite_is_embedded(None) == []


def test_sqlite_elsewhere_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_at(monkeypatch, Path("/mnt/shared/tv.sqlite3"))

    assert ids(checks.sqlite_is_embedded(None)) == ["stabilizer.W001"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [("https://tv.example.com", []), ("http://tv.example.com", ["stabilizer.W002"])],
)
def test_people_are_sent_to_https(settings: Settings, url: str, expected: list[str]) -> None:
    settings.PUBLIC_URL = url

    assert ids(checks.people_see_https(None)) == expected


def test_django_runs_all_of_them() -> None:
    registered = django_checks.registry.registry.get_checks(include_deployment_checks=True)
    ours: set[Check] = {
        checks.secrets_are_given,
        checks.trusted_proxies_are_networks,
        checks.mariadb_is_strict,
        checks.redis_keeps_its_keys,
        checks.sqlite_is_embedded,
        checks.people_see_https,
    }

    assert ours <= set(registered)
    assert settings.INSTALLED_APPS[0] == "stabilizer"
