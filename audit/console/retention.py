"""close, sign and drop the days that are over their retention; 1 if one had to stay"""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.db.models import Sum

from audit import days, retention
from audit.console.out import Out
from audit.models import Day


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say which days are due")


def run(options: dict[str, Any], out: Out) -> int:
    due = Day.objects.filter(day__lt=days.oldest_open(), dropped_at=None, closed_at=None)
    rows = 0 if options["dry_run"] else due.aggregate(rows=Sum("height"))["rows"] or 0
    stayed = 0
    with out.progress("verifying what will be dropped", rows) as bar:
        for outcome in retention.run(dry_run=options["dry_run"], progress=bar.advance):
            out.object(asdict(outcome))
            why = f": {outcome.explanation}" if outcome.explanation else ""
            out.line(f"{outcome.day}  {outcome.events:>12,} events  {outcome.what}{why}")
            stayed += outcome.what not in ("dropped", "due")
    return 1 if stayed else 0
