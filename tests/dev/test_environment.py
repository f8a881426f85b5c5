"""What `make up` reads, and the secrets it makes once."""

import stat
from pathlib import Path

import pytest

from dev import environment
from dev.environment import Choice, UnknownChoice


def test_everything_has_a_default() -> None:
    choice = Choice.of({})

    assert choice.base_url == "http://127.0.0.1:9000"
    assert not choice.mariadb
    assert choice.run_dir == environment.ROOT / ".run"


def test_the_caller_chooses() -> None:
    choice = Choice.of({"PORT": "9001", "DB": "mariadb", "RUN_DIR": "/srv/run"})

    assert (choice.port, choice.mariadb, choice.run_dir) == (9001, True, Path("/srv/run"))


@pytest.mark.parametrize(
    "environ",
    [
        {"PORT": "http"},
        {"PORT": "0"},
        {"PORT": "65536"},
        {"PORT": "-1"},
        {"PORT": "٣"},
        {"DB": "x"},
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(UnknownChoice, match="use "):
        Choice.of(environ)


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "run" / "secrets.env"
    first = environment.lasting_secrets(file)

    assert environment.lasting_secrets(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(environment.SECRETS) < set(first)
    assert len({first[name] for name in environment.SECRETS}) == len(environment.SECRETS)


def test_what_the_caller_set_himself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTS", "20")
    monkeypatch.setenv("HTTPS", "true")
    choice = Choice.of({"RUN_DIR": str(tmp_path), "PORT": "9001"})
    env = environment.environment(choice, "sqlite:///x", "redis://y/0")

    assert (env["SLOTS"], env["HTTPS"]) == ("20", "true")
    assert (env["DATABASE_URL"], env["PUBLIC_URL"]) == ("sqlite:///x", "http://127.0.0.1:9001")


def test_a_written_file_is_replaced_at_once_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "up.env"
    file.write_text("A=old\n", encoding="utf-8")
    environment.write_private(file, {"A": "x=y", "PIDS": "1 2"})

    assert environment.read(file) == {"A": "x=y", "PIDS": "1 2"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["up.env"]
