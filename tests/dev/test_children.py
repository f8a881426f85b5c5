"""Processes of ours end when they are told to, and with whoever started them."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dev import children

STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(child.pid, flush=True)
    time.sleep(60)
"""


FORGETFUL = """
    import signal, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(child.pid, flush=True)
    time.sleep(60)
"""


def script(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(text)]


def first_line(child: children.Child, limit_s: float = 10) -> str:
    deadline = time.monotonic() + limit_s
    while not (text := child.last_lines()):
        assert time.monotonic() < deadline, "it wrote nothing"
        time.sleep(0.02)
    return text.splitlines()[0]


def runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while runs(pid):
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.02)


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    child = children.start("talker", script("print('hello')"), tmp_path / "log" / "talker.log")

    assert child.process.wait(10) == 0
    assert child.last_lines() == "hello"


def test_a_polite_child_ends_with_sigterm(tmp_path: Path) -> None:
    child = children.start("sleeper", ["sleep", "60"], tmp_path / "log")

    assert children.stop([child]) == []
    assert child.status == -15


def test_a_stubborn_child_is_killed_with_its_own_children(tmp_path: Path) -> None:
    child = children.start("stubborn", script(STUBBORN), tmp_path / "log")
    grandchild = int(first_line(child))

    assert children.stop([child], patience_s=0.2) == [child]
    assert child.status == -9
    wait_until_gone(grandchild)


def test_what_a_polite_child_leaves_behind_is_killed(tmp_path: Path) -> None:
    child = children.start("forgetful", script(FORGETFUL), tmp_path / "log")
    grandchild = int(first_line(child))

    assert children.stop([child]) == []
    assert child.status == 0
    wait_until_gone(grandchild)


def test_children_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    starter = f"""
        import time
        from pathlib import Path
        from dev import children
        child = children.start("sleeper", ["sleep", "60"], Path({str(tmp_path)!r}) / "log")
        print(child.pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(script(starter), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        process.kill()
    wait_until_gone(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_root_starts_a_server_as_somebody_else(tmp_path: Path) -> None:
    child = children.start("who", ["id", "-un"], tmp_path / "log", user="nobody")
    child.process.wait(10)

    assert child.last_lines() == "nobody"
