"""what waits in spool and outbox, what is stored, what is missing; 1 if something is"""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from audit import stats
from audit.console.out import Out


def add_arguments(parser: ArgumentParser) -> None:
    pass


def run(options: dict[str, Any], out: Out) -> int:
    found = stats.collect()
    out.counts(asdict(found))
    return 1 if found.missing_bytes or found.spilled else 0
