"""events as JSON lines or CSV, with all that proves them; to a file, or standard output"""

import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db.models import Sum

import audit
from audit import export
from audit.console.out import Out
from audit.models import Day
from audit.search import Search

NAMES = ("subject", "actor", "action", "request_id", "tenant", "severity")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=export.FORMATS, default="jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help="else standard output")
    for name, what in (("since", "at or after"), ("until", "before")):
        parser.add_argument(f"--{name}", type=_moment, metavar="TIME", help=f"{what} this, in UTC")
    for name in NAMES:
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"only those of this {name}")


def run(options: dict[str, Any], out: Out) -> int:
    exact = {name: options[name] for name in NAMES if options[name]}
    search = Search(exact, options["since"], options["until"])
    count = 0
    try:
        target = options["out"].open("w", encoding="utf-8") if options["out"] else None
    except OSError as error:
        out.line(f"{options['out']}: {error.strerror}")
        out.object({"error": "cannot_write"})
        return 2
    with target or nullcontext(), out.progress("exporting", _most(search)) as bar:
        for line in export.lines(search, options["format"]):
            (target or sys.stdout).write(line)
            count += 1
            bar.advance()
    events = count - (options["format"] == "csv")
    audit.record(
        "audit.exported",
        actor="command:audit export",
        detail={**search.told, "format": options["format"], "events": events},
    )
    if target:
        out.counts({"events": events})
    return 0


def _most(search: Search) -> int | None:
    """How many there are at most, where that is known without counting."""
    days = Day.objects.filter(dropped_at=None)
    if search.since:
        days = days.filter(day__gte=search.since.date())
    if search.until:
        days = days.filter(day__lte=search.until.date())
    return None if search.exact else days.aggregate(events=Sum("height"))["events"]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
