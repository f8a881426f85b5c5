"""Processes that this repository's commands start, each with a log of its own."""

import contextlib
import ctypes
import grp
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass
class Child:
    """A running process in a session of its own, so that Ctrl-C reaches only whoever started it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def status(self) -> int | None:
        """The exit status, or `None` while it runs."""
        return self.process.poll()

    def said(self, words: str) -> bool:
        return words in self.log.read_text(encoding="utf-8", errors="replace")

    def last_lines(self, count: int = 20) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-count:])


def start(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start `command` with its output in `log`. It gets SIGTERM when the starting process dies."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            user=user,
            group=_group(user) if user else None,
            extra_groups=[] if user else None,
        )
    return Child(name, process, log)


def stop(children: Iterable[Child], patience_s: float = 10) -> list[Child]:
    """End all of them: SIGTERM to each, then SIGKILL to those that stay and to what they leave.

    Returns those that had to be killed.
    """
    children = list(children)
    for child in children:
        if child.status is None:
            child.process.terminate()
    deadline = time.monotonic() + patience_s
    late = [child for child in children if not _ended(child, deadline)]
    for child in children:
        _kill_session(child)
    return late


def _ended(child: Child, deadline: float) -> bool:
    try:
        child.process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_session(child: Child) -> None:
    # The leader gave the group its own number, so this reaches what it started and did not end.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.process.wait()


def _die_with_parent() -> None:
    # Runs after the change of user, which would have cleared it.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _group(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
