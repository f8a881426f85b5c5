import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit import context
from audit.console import dlq, export, hold, retention, ship, stats, tail, verify
from audit.console.out import Out, allow_json

SUBCOMMANDS = {
    "ship": ship,
    "stats": stats,
    "tail": tail,
    "verify": verify,
    "export": export,
    "retention": retention,
    "hold": hold,
    "dlq": dlq,
}


class Command(BaseCommand):
    help = "The trail of what happened: moved, counted, read, proven, kept and dropped."

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", required=True)
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(name, help=module.__doc__)
            allow_json(subparser)
            module.add_arguments(subparser)

    def handle(self, *args: Any, **options: Any) -> None:
        out = Out(self.stdout, as_json=options.get("json", False))
        try:
            with context.a_run():
                status = SUBCOMMANDS[options["subcommand"]].run(options, out)
        except KeyboardInterrupt:
            status = 130
        if status:
            sys.exit(status)
