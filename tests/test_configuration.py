"""The environment: typed, refused early with a hint, and never shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from stabilizer.env import ROOT, Env

SETTINGS = {name.upper() for name in Env.model_fields}
COMPOSE_ONLY = {"MARIADB_PASSWORD"}
SECRET_SETTINGS = {
    name.upper() for name, field in Env.model_fields.items() if field.annotation is SecretStr
}


#: Every command and server does this first.
READ_SETTINGS = ("-c", "import stabilizer.settings")


def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        [sys.executable, *(words or READ_SETTINGS)],
        cwd=ROOT,
        env={**inherited, "DEBUG": "true", **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "many"),
        ("THREADS", "0"),
        ("DEBUG", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("PUBLIC_URL", "tv.example.com"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("DATABASE_URL", "postgres://127.0.0.1/tv"),
        ("DATABASE_URL", "mysql://root@127.0.0.1:3306/"),
    ],
)
def test_a_bad_value_is_refused_with_a_hint_and_status_2(name: str, value: str) -> None:
    refused = command(**{name: value})

    assert refused.returncode == 2
    assert f"  {name}: " in refused.stderr
    assert f"hint: {Env.model_fields[name.lower()].description}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://tv:hunter2@127.0.0.1/tv"),
        ("DATABASE_URL", "mysql://tv:hunter2/x@127.0.0.1/tv"),
        ("DATABASE_URL", "mysql://tv:pass[hunter2@127.0.0.1/tv"),
        ("REDIS_URL", "redis://:hunter2/x@127.0.0.1/0"),
        ("PUBLIC_URL", "hunter2"),
    ],
)
def test_a_refused_value_is_never_shown(name: str, value: str) -> None:
    refused = command(**{name: value})

    assert refused.returncode == 2
    assert "hunter2" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("manage.py", "migrate"),
        ("-m", "stabilizer.server", "web"),
        ("-m", "celery", "-A", "stabilizer", "worker"),
    ],
    ids=["manage.py", "server", "celery"],
)
def test_a_bad_value_stops_every_process_without_a_traceback(words: tuple[str, ...]) -> None:
    refused = command(*words, THREADS="many")

    assert refused.returncode == 2
    assert "  THREADS: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_all_bad_values_are_named_at_once() -> None:
    refused = command(THREADS="many", SLOTS="none")

    assert "  THREADS: " in refused.stderr
    assert "  SLOTS: " in refused.stderr


def test_a_secret_can_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n", encoding="utf-8")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(file))

    assert Env().secret_key.get_secret_value() == "s3cret"


def test_a_value_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("from-the-file", encoding="utf-8")
    monkeypatch.setenv("SECRET_KEY", "from-the-environment")
    monkeypatch.setenv("SECRET_KEY_FILE", str(file))

    assert Env().secret_key.get_secret_value() == "from-the-environment"


def test_a_file_that_cannot_be_read_is_named() -> None:
    refused = command(KEYRING_SECRET_FILE="/nowhere/keyring")

    assert refused.returncode == 2
    assert "KEYRING_SECRET_FILE points to a file that cannot be read" in refused.stderr


def test_an_empty_value_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADS", "")

    assert Env().threads == Env.model_fields["threads"].default


def test_lists_take_spaces_and_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 192.168.0.0/16 unix")

    assert Env().trusted_proxies == ("10.0.0.0/8", "192.168.0.0/16", "unix")


def test_secrets_are_the_settings_without_a_default() -> None:
    named = {"SECRET_KEY", "API_KEY_PEPPER", "KEYRING_SECRET", "AUDIT_SIGNING_SECRET"}
    assert named | {"METRICS_TOKEN"} == SECRET_SETTINGS
    assert not any(
        Env.model_fields[name.lower()].default.get_secret_value() for name in SECRET_SETTINGS
    )


def test_the_example_has_every_setting_once() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]

    assert sorted(names) == sorted(SETTINGS | COMPOSE_ONLY)


def test_the_example_is_accepted_as_it_is_and_gives_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    defaults = Env()
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))

    assert Env() == defaults


def test_the_documentation_has_every_setting_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", text, flags=re.MULTILINE))

    assert set(rows) == SETTINGS
    for name, shown in rows.items():
        default = Env.model_fields[name.lower()].default
        if isinstance(default, bool | int):
            assert shown == f"`{str(default).lower()}`", name


def test_the_documentation_has_every_system_check() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z]+\.[EW]\d{3})`", text))

    assert documented == set(numbered_checks())


def numbered_checks() -> list[str]:
    """The ids in the sources: `id="stabilizer.E001"`, or the key of a table of them."""
    found = []
    for app in ("accounts", "audit", "pairing", "ratelimit", "stabilizer"):
        for file in (ROOT / app).rglob("checks.py"):
            text = file.read_text(encoding="utf-8")
            found += re.findall(r"[\"'(]([a-z]+\.[EW]\d{3})\"", text)
            found += [f"{app}.{number}" for number in re.findall(r"\"([EW]\d{3})\":", text)]
    return found
