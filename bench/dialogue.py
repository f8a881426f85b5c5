"""A process that is asked one thing after the other: a line of JSON in, a line of JSON out."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.place import MeasureFailed, Place
from dev.environment import ROOT

#: Whoever has not answered by then is killed.
ANSWER_S = 300.0
PATIENCE_S = 10

Acts = Mapping[str, Callable[..., Any]]


class Partner:
    """A process with which the comparison talks. It ends when its input does."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def ask(self, act: str, **given: Any) -> Any:
        """What it answers to `given`. Raises `MeasureFailed`."""
        self.say(act, **given)
        return self.hear()

    def say(self, act: str, **given: Any) -> None:
        """Have it begin; it is to be heard once for each time."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{json.dumps({'act': act, **given})}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None

    def hear(self) -> Any:
        """Its next answer. Raises `MeasureFailed` where it ends instead, or says nothing."""
        assert self._process.stdout
        limit = threading.Timer(ANSWER_S, self._process.kill)
        limit.start()
        try:
            line = self._process.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            raise self._failed()
        return json.loads(line)

    def _failed(self) -> MeasureFailed:
        status = self._process.wait(PATIENCE_S)
        said = self._log.read_text(encoding="utf-8", errors="replace")
        return MeasureFailed(f"{self._log.stem} ended with {status}: {said[-2000:]}")


@contextmanager
def partner(place: Place, module: str, env: Mapping[str, str]) -> Iterator[Partner]:
    """`python -m MODULE`, which has ended after the block."""
    place.directory.mkdir(parents=True, exist_ok=True)
    log = place.directory / f"{module}.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Partner(process, log)
    finally:
        # What it was told last may have broken off: nothing of it is looked at.
        with process:
            process.kill()


def answer(acts: Acts) -> None:
    """What such a process does: the acts that it is told, until its input ends."""
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(acts[given.pop("act")](**given)), flush=True)
