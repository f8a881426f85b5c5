"""How long a large file of subscribers takes, and the same file again."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.place import MeasureFailed, Place
from bench.row import Row, at_most
from dev.environment import ROOT

SUBSCRIBERS = 100_000
GOAL_S = 60


def rows(place: Place) -> Iterator[Row]:
    """Import a file of new subscribers with a card each, then once more."""
    count = SUBSCRIBERS // 100 if place.quick else SUBSCRIBERS
    # The goal is that of the whole file: a short one takes the time in which Django starts.
    goal = None if place.quick else at_most(GOAL_S)
    file = place.directory / "subscribers.csv"
    _write(file, count)
    for what in ("new subscribers", "subscribers once more"):
        started = time.monotonic()
        note = _import(file, place)
        took_s = time.monotonic() - started
        yield Row(f"import of {count:,} {what}", "s", (took_s,), goal=goal, note=note)


def _write(file: Path, count: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="ascii") as output:
        writer = csv.writer(output)
        writer.writerow(["subscriber_code", "sn", "login1", "password", "pin", "packages"])
        writer.writerows(
            [f"I{n:07}", f"IC{n:09}", f"i{n}", f"secret-{n}", f"{n % 10_000:04}", "basic"]
            for n in range(count)
        )


def _import(file: Path, place: Place) -> str:
    command = [sys.executable, "manage.py", "import_subscribers", str(file), "--json"]
    run = subprocess.run(
        command, cwd=ROOT, env=place.env, check=False, capture_output=True, text=True
    )
    if run.returncode:
        raise MeasureFailed(f"import_subscribers: {run.stderr}")
    told = json.loads(run.stdout)
    created, changed = told["subscribers_created"], told["subscribers_changed"]
    return f"{created:,} created, {changed:,} changed"
