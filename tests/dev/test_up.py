"""`make up`, as a stranger and his scripts meet it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dev import environment, ports, welcome
from stabilizer.env import ROOT, Env
from stabilizer.listener import TAKES_CONNECTIONS

pytestmark = pytest.mark.processes
START_S = 120
SETTINGS = {name.upper() for name in Env.model_fields}


@dataclass
class Running:
    process: subprocess.Popen[str]
    run_dir: Path
    port: int

    @property
    def facts(self) -> dict[str, str]:
        return environment.read(self.run_dir / "up.env")

    @property
    def pids(self) -> list[int]:
        names = ("WEB_PIDS", "WORKER_PID", "SHIPPER_PID", "UP_PID")
        named = [int(pid) for name in names for pid in self.facts[name].split()]
        # Celery's worker has a pool and beat: processes of its own, which live in its session.
        command = ["ps", "-o", "pid=", "-s", self.facts["WORKER_PID"]]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        return [*named, *map(int, found.stdout.split())]


def fresh_environment() -> dict[str, str]:
    mine = SETTINGS | {"DB", "COVERAGE_PROCESS_CONFIG"}
    return {name: value for name, value in os.environ.items() if name not in mine}


def start(run_dir: Path, port: int, output: Path) -> subprocess.Popen[str]:
    """`python -m dev.up` without the settings of these tests, as in a fresh terminal."""
    env = fresh_environment()
    with output.open("w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dev.up"],
            cwd=ROOT,
            env={**env, "RUN_DIR": str(run_dir), "PORT": str(port)},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )


def wait_for(condition: object, limit_s: float) -> None:
    assert callable(condition)
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    run_dir = tmp_path_factory.mktemp("up")
    port = ports.free_pair()
    process = start(run_dir, port, run_dir / "output")
    try:
        wait_for(lambda: (run_dir / "up.env").exists() or process.poll() is not None, START_S)
        assert process.poll() is None, (run_dir / "output").read_text(encoding="utf-8")
        yield Running(process, run_dir, port)
    finally:
        process.terminate()
        process.wait(60)


def test_it_is_healthy_when_it_says_so(up: Running) -> None:
    answer = httpx.get(f"{up.facts['BASE_URL']}/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    for number in (1, 2):
        log = up.run_dir / "log" / f"web-{number}.log"
        assert TAKES_CONNECTIONS in log.read_text(encoding="utf-8")


def test_scripts_find_what_they_need_and_others_may_not_look(up: Running) -> None:
    assert (up.run_dir / "up.env").stat().st_mode & 0o077 == 0
    assert len(up.facts["WEB_PIDS"].split()) == 2
    assert not any(is_gone(pid) for pid in up.pids)
    for name in ("API_KEY", "ADMIN_USER", "ADMIN_PASSWORD", "DATABASE_URL", "REDIS_URL"):
        assert up.facts[name]


def test_the_three_lines_it_prints_pair_a_screen(up: Running) -> None:
    printed = (up.run_dir / "output").read_text(encoding="utf-8")
    lines = welcome.pairing_lines(up.facts["BASE_URL"], up.facts["API_KEY"])
    assert all(f"{line}\n" in printed for line in lines)

    said = pair_by_hand(up)

    assert '"status":"approved"' in said.replace(" ", "")
    assert '"access_token":' in said


def pair_by_hand(up: Running) -> str:
    lines = welcome.pairing_lines(up.facts["BASE_URL"], up.facts["API_KEY"])
    shell = subprocess.run(
        ["sh", "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    return shell.stdout


def test_who_has_paired_a_screen_by_hand_sees_a_whole_stampede_served(up: Running) -> None:
    pair_by_hand(up)
    command = [sys.executable, "manage.py", "stampede", "--devices", "20", "--at-once"]

    run = subprocess.run(
        command,
        cwd=ROOT,
        env=fresh_environment() | {"RUN_DIR": str(up.run_dir)},
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_it_shows_the_addresses(up: Running) -> None:
    printed = (up.run_dir / "output").read_text(encoding="utf-8")

    for path in ("/api/docs/", "/admin/", "/activate/"):
        assert f"{up.facts['BASE_URL']}{path}" in printed


def test_no_secret_is_logged(up: Running) -> None:
    logs = "".join(file.read_text(encoding="utf-8") for file in (up.run_dir / "log").iterdir())
    kept = environment.read(up.run_dir / "secrets.env")

    assert logs
    assert not [name for name, value in kept.items() if value in logs]
    assert up.facts["API_KEY"] not in logs


def test_a_second_one_says_who_holds_the_port(up: Running, tmp_path: Path) -> None:
    second = start(tmp_path, up.port, tmp_path / "output")

    assert second.wait(30) == 70
    printed = (tmp_path / "output").read_text(encoding="utf-8")
    assert f"pid {up.facts['UP_PID']} (" in printed
    assert "make up PORT=" in printed


def test_a_second_one_in_the_same_directory_says_where_the_first_is(
    up: Running, tmp_path: Path
) -> None:
    second = start(up.run_dir, ports.free_pair(), tmp_path / "output")

    assert second.wait(30) == 70
    assert up.facts["BASE_URL"] in (tmp_path / "output").read_text(encoding="utf-8")
    assert httpx.get(f"{up.facts['BASE_URL']}/healthz").status_code == 200


def test_a_child_that_dies_ends_everything_with_its_log(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    output = tmp_path / "output"
    process = start(run_dir, ports.free_pair(), output)
    wait_for(lambda: (run_dir / "up.env").exists() or process.poll() is not None, START_S)
    facts = environment.read(run_dir / "up.env")
    os.kill(int(facts["WEB_PIDS"].split()[0]), signal.SIGKILL)

    assert process.wait(60) == 1
    printed = output.read_text(encoding="utf-8")
    assert "web-1 ended with status -9" in printed
    assert "this process takes connections" in printed
    wait_for(lambda: is_gone(int(facts["WORKER_PID"])), 10)


# The last one: it stops what the others use.
def test_sigterm_stops_every_process_and_frees_the_port(up: Running) -> None:
    pids = up.pids
    redis_port = int(up.facts["REDIS_URL"].rpartition(":")[2].partition("/")[0])
    up.process.terminate()

    assert up.process.wait(60) == 0
    wait_for(lambda: all(is_gone(pid) for pid in pids), 10)
    assert not (up.run_dir / "up.env").exists()
    for port in (up.port, redis_port):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{ports.LOOPBACK}:{port}/")
