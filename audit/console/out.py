"""Where a subcommand writes: its result to standard output, how far it is to standard error."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

#: Wide enough for the longest name of a count.
NAME_WIDTH = 24


def allow_json(parser: ArgumentParser) -> None:
    """`--json`, which may be said before or after what a subcommand is to do."""
    parser.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="JSON lines, and nothing else"
    )


class Out:
    """Text for people, or JSON for programs, which get nothing else on standard output."""

    def __init__(self, stdout: OutputWrapper, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stdout = stdout

    def line(self, text: str) -> None:
        """A line for people."""
        if not self.as_json:
            self._stdout.write(text)

    def object(self, value: Mapping[str, Any]) -> None:
        """A line for programs."""
        if self.as_json:
            self._stdout.write(json.dumps(value, default=str))

    def counts(self, counts: Mapping[str, Any]) -> None:
        """Named numbers, whoever reads them."""
        self.object(counts)
        for name, count in counts.items():
            shown = f"{count:,}" if isinstance(count, int) else str(count)
            self.line(f"{name.replace('_', ' '):<{NAME_WIDTH}}{shown:>14}")

    def raw(self, text: str) -> None:
        """Text as it is, whoever reads it."""
        self._stdout.write(text, ending="")

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator["Bar"]:
        """A bar on standard error, if a person looks."""
        console = Console(stderr=True, quiet=self.as_json or not sys.stderr.isatty())
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            yield Bar(bars, bars.add_task(what, total=total))


class Bar:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, done: int = 1) -> None:
        self._bars.advance(self._task, done)
