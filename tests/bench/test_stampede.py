"""`make stampede`: every contestant meets the crowd, and the table says what came of it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.stampede import __main__ as stampede
from bench.stampede import contest, load, picture, promises, report
from bench.stampede.contestant import Running
from bench.stampede.contestants import CONTESTANTS
from bench.stampede.load import LoadFailed
from bench.stampede.result import Result
from bench.stampede.usage import Usage
from dev import ports
from dev.supervisor import Supervisor
from stabilizer.env import ROOT

SPREAD = {"count": 4, "mean": 2.0, "p50": 1.5, "p95": 4.0, "max": 5.0}


def result(name: str, **changed: Any) -> Result:
    """Made up: 10 devices, 8 served, one time-out, 16 ms of CPU per served device."""
    document = {
        "devices": 10,
        "served": 8,
        "served_percent": 80.0,
        "answered_percent": 97.5,
        "answers": SPREAD,
        "mean_try": 2.4,
        "peak_per_second": 0.5,
        "took_s": 12.0,
        "load_cpu_s": 0.7,
        "wait": SPREAD,
        "429": 0,
        "503": 1_234,
        "transport_errors": {"timeout": 1},
        "failures": {"create: late": 2},
        "served_at": [0.5, 2.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    }
    return Result(
        name, f"The {name}", "as it is", document | changed, Usage(0.128, 40, 3), 90 << 20
    )


def verdict_on(what: str, own: Result, rival: Result) -> promises.Verdict:
    verdicts = promises.verdicts({own.name: own, rival.name: rival})
    return next(verdict for verdict in verdicts if verdict.promise.what == what)


def test_processor_time_is_shared_out_to_those_who_were_served():
    assert result("ours").cpu_ms_per_served == pytest.approx(16)
    assert result("ours", served=0).cpu_ms_per_served == float("inf")


def test_a_run_with_a_lost_device_or_connection_has_a_flaw():
    assert not result("ours", served=10).is_flawless
    assert not result("ours", transport_errors={}).is_flawless
    assert result("ours", served=10, transport_errors={}).is_flawless


@pytest.mark.parametrize(("mean_try", "met"), [(0.119, True), (0.121, False)])
def test_a_promise_is_met_up_to_its_goal(mean_try: float, met: bool):
    verdict = verdict_on(
        "mean of all tries, s", result("ours", mean_try=mean_try), result("unprotected")
    )
    assert (verdict.promise.goal, verdict.met) == (1 / 20, met)
    assert verdict.ratio == pytest.approx(mean_try / 2.4)


@pytest.mark.parametrize(("own_ms", "met"), [(0, None), (1, False)])
def test_where_the_rival_waited_for_no_row_we_must_not_either(own_ms: int, met: bool | None):
    rival = replace(result("unprotected"), usage=Usage(0.1, 0, 0))
    ours = replace(result("ours"), usage=Usage(0.1, own_ms, 0))
    verdict = verdict_on("wait for row locks, ms", ours, rival)
    assert (verdict.ratio, verdict.met) == (None, met)


def test_only_those_who_ran_are_compared():
    assert promises.verdicts({"unprotected": result("unprotected")}) == []
    together = {name: result(name) for name in ("ours", "haproxy-wsgi")}
    rivals = {verdict.promise.rival for verdict in promises.verdicts(together)}
    assert rivals == {"ours", "haproxy-wsgi"}


@pytest.mark.parametrize(("devices", "count"), [(4_999, 6), (5_000, 7), (9_999, 7), (10_000, 9)])
def test_what_is_promised_of_a_great_crowd_is_asked_of_a_great_crowd(devices: int, count: int):
    names = ("ours", "unprotected", "haproxy-wsgi", "haproxy-ours")
    everybody = {name: result(name, devices=devices) for name in names}
    assert len(promises.verdicts(everybody)) == count


def test_the_ideal_is_all_calls_at_our_own_peak():
    # 4 answers at 0.5 per second: 8 s, where it took 12.
    ours = result("ours", devices=10_000)
    verdict = verdict_on("time, against calls / peak goodput, s", ours, ours)
    assert (verdict.own, verdict.theirs, verdict.met) == (12, 8, False)


def test_every_promise_names_a_contestant():
    names = {contestant.name for contestant in CONTESTANTS}
    assert {promise.rival for promise in promises.PROMISES} | {promises.OURS} == names


def test_the_table_shows_each_figure_once_and_the_notes_how_it_came_about():
    printed_to = io.StringIO()
    results = [result("unprotected"), result("ours", mean_try=0.3, failures={})]
    verdicts = promises.verdicts({each.name: each for each in results})
    report.show(Console(file=printed_to, width=stampede.WIDTH), results, verdicts)
    printed = printed_to.getvalue()

    row = next(line for line in printed.splitlines() if "The unprotected" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")][1:]
    figures = ["80.0", "97.5", "2.00", "1.50", "4.00", "5.00", "2.40", "2.00", "12.0"]
    assert cells == [*figures, "0", "1,234", "1", "16.0", "40", "94"]
    assert "The ours: as it is" in printed
    assert "3 waits for rows; the load itself took 0.7 s of CPU" in printed
    assert printed.count("2 not served: create: late") == 1
    assert "0.12" in printed
    assert "not met" in printed


def test_the_picture_is_drawn_even_of_who_served_nobody(tmp_path: Path):
    results = [result("ours"), result("unprotected", served=0, served_at=[])]
    picture.draw(results, tmp_path / "all.png")
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words", [["--devices", "0"], ["--devices", "10001"], ["--only", "nobody"]]
)
def test_a_contest_is_bounded(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        stampede.main(words)
    assert words[0] in capsys.readouterr().err


def test_only_ours_runs_without_mariadb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DB", "sqlite")
    with pytest.raises(SystemExit):
        stampede.main([])
    assert "--only ours" in capsys.readouterr().err


def test_a_load_that_cannot_start_says_why():
    nowhere = Running(f"ftp://{ports.LOOPBACK}", "key", Supervisor(Path()))
    refused = pytest.raises(LoadFailed, match="not an address")
    with refused, load.started(nowhere, devices=1, deadline_s=1) as crowd:
        crowd.wait_until_prepared()


def test_the_load_says_when_everybody_arrives_and_what_came_of_it():
    nobody = Running(f"http://{ports.LOOPBACK}:{ports.free()}", "key", Supervisor(Path()))
    with load.started(nobody, devices=7, deadline_s=1) as crowd:
        crowd.wait_until_prepared()
        assert crowd.report()["failures"] == {"create: late": 7}


# Real runs


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment as a terminal has it in which no tests run."""
    for name in ("DATABASE_URL", "REDIS_URL", "DEBUG", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.processes
@pytest.mark.parametrize("name", ["haproxy-wsgi", "haproxy-ours"])
def test_a_rival_serves_everybody_and_is_measured(
    name: str, terminal: None, open_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    # So few leave nothing behind that would be waited for.
    monkeypatch.setattr(contest, "settled", lambda read: read())
    contestant = next(each for each in CONTESTANTS if each.name == name)
    measured = contest.compete(contestant, 20, open_directory)

    assert measured.is_flawless, measured.load
    assert measured.load["steps"]["revoke"]["count"] == 10
    assert 0 < measured.usage.cpu_s < 60
    assert measured.peak_bytes > 30_000_000


@pytest.mark.processes
@pytest.mark.parametrize("database", ["mariadb", "sqlite"])
def test_ours_serves_everybody_and_nothing_stays(database: str, terminal: None, tmp_path: Path):
    tmp_path.chmod(0o755)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    outcome = tmp_path / "outcome.json"
    words = ["--only", "ours", "--json", str(outcome), "--plot", str(tmp_path / "ours.png")]
    run = subprocess.run(
        [sys.executable, "-m", "bench.stampede", *words],
        cwd=ROOT,
        env={**os.environ, "DEVICES": "20", "DB": database, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    (told,) = json.loads(outcome.read_text())["contestants"]
    assert (told["name"], told["load"]["served_percent"]) == ("ours", 100)
    assert (tmp_path / "ours.png").exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.processes
def test_who_is_stopped_in_the_middle_leaves_nothing(terminal: None, tmp_path: Path):
    tmp_path.chmod(0o755)
    command = [sys.executable, "-m", "bench.stampede", "--only", "unprotected"]
    env = {**os.environ, "DEVICES": "20", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not any(log.stat().st_size for log in tmp_path.glob("*/unprotected/log/*.log")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        _, complaints = run.communicate(timeout=60)

    assert (run.returncode, complaints) == (1, "stopped\n")
    assert list(tmp_path.iterdir()) == []
