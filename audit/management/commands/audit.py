from dataclasses import asdict
from json import dumps
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit import stats


class Command(BaseCommand):
    help = "The trail of what happened: how much of it is where."

    def add_arguments(self, parser: CommandParser) -> None:
        subcommands = parser.add_subparsers(dest="subcommand", required=True)
        counts = subcommands.add_parser(
            "stats", help="what waits in spool and outbox, what is stored"
        )
        counts.add_argument(
            "--json", action="store_true", help="one JSON object instead of a table"
        )
        counts.set_defaults(run=self.stats)

    def handle(self, *args: Any, **options: Any) -> None:
        options["run"](**options)

    def stats(self, *, json: bool, **options: Any) -> None:
        counts = asdict(stats.collect())
        if json:
            self.stdout.write(dumps(counts))
            return
        for name, count in counts.items():
            self.stdout.write(f"{name.replace('_', ' '):<16}{count:>14,}")
