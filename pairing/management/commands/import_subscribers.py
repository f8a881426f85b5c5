"""``manage.py import_subscribers``: subscribers and their smartcards from a CSV file."""

import csv
import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from accounts.models import Tenant
from audit import context
from pairing import subscriber_file
from pairing.importing import Import, Report
from pairing.subscriber_file import BadRow, UnreadableFile

CANNOT_READ = 2
SHOWN = 20


class Command(BaseCommand):
    help = (
        "Import subscribers and smartcards from a CSV file, one card per row. Safe to repeat. "
        "Ends with 0 when every row is in, 1 after bad rows, 2 when the file cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE.csv")
        parser.add_argument("--tenant", default="demo", metavar="SLUG")
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything, write nothing"
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument(
            "--report", type=Path, metavar="FILE", help="write bad rows there: line,column,reason"
        )

    def handle(self, **options: Any) -> None:
        started = time.monotonic()
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"no tenant {options['tenant']!r}", returncode=CANNOT_READ)
        work = Import(tenant, dry_run=options["dry_run"], actor="command:import_subscribers")
        try:
            with options["file"].open("rb") as file, context.a_run():
                self._import(work, file, quiet=options["json"])
        except (OSError, UnreadableFile) as error:
            raise CommandError(f"{options['file']}: {error}", returncode=CANNOT_READ) from error
        bad = sorted(work.report.bad, key=lambda row: row.line)
        if options["report"]:
            _write_report(options["report"], bad)
        self._tell(work.report, bad, time.monotonic() - started, options)
        if bad:
            sys.exit(1)

    def _import(self, work: Import, file: BinaryIO, *, quiet: bool) -> None:
        with Progress(console=Console(stderr=True, quiet=quiet), transient=True) as progress:
            task = progress.add_task("Importing", total=file.seek(0, 2))
            file.seek(0)
            for _ in work.run(subscriber_file.read(file)):
                progress.update(task, completed=file.tell())

    def _tell(
        self, report: Report, bad: list[BadRow], seconds: float, options: dict[str, Any]
    ) -> None:
        counts = report.counts()
        if options["json"]:
            told = {**counts, "dry_run": options["dry_run"], "seconds": round(seconds, 1)}
            self.stdout.write(json.dumps(told))
            return
        for row in bad[:SHOWN]:
            place = f"line {row.line}" + (f", {row.column}" if row.column else "")
            self.stderr.write(f"{place}: {row.reason}")
        if len(bad) > SHOWN:
            self.stderr.write(f"and {len(bad) - SHOWN} more bad rows; --report FILE lists them all")
        for name, count in counts.items():
            self.stdout.write(f"{name.replace('_', ' '):<20} {count:>9,}")
        dry = ", nothing written (dry run)" if options["dry_run"] else ""
        self.stdout.write(f"in {seconds:.1f} s{dry}")


def _write_report(path: Path, bad: Iterable[BadRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["line", "column", "reason"])
        writer.writerows([row.line, row.column, row.reason] for row in bad)
