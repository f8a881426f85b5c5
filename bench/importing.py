"""How long a large file of subscribers takes, and the same file again."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.environment import ROOT

ROWS = 100_000


@dataclass(frozen=True)
class Run:
    """One import; `took_s` is the whole command's time."""

    what: str
    took_s: float
    created: int
    changed: int


def runs(file: Path) -> Iterator[Run]:
    """Import a file of `ROWS` new subscribers with a card each, then once more."""
    with file.open("w", newline="", encoding="ascii") as output:
        writer = csv.writer(output)
        writer.writerow(["subscriber_code", "sn", "login1", "password", "pin", "packages"])
        writer.writerows(
            [f"I{n:07}", f"IC{n:09}", f"i{n}", f"secret-{n}", f"{n % 10_000:04}", "basic"]
            for n in range(ROWS)
        )
    for what in ("new", "the same again"):
        started = time.monotonic()
        command = [sys.executable, "manage.py", "import_subscribers", str(file), "--json"]
        told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        counts = json.loads(told.stdout)
        took_s = time.monotonic() - started
        yield Run(what, took_s, counts["subscribers_created"], counts["subscribers_changed"])
