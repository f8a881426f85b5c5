"""``manage.py policy``: changed policies are tried on what has been, and rolled out in steps."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit import context
from audit.console.out import Out, allow_json
from stabilizer.console import backtest, rollout

SUBCOMMANDS = {"backtest": backtest, "rollout": rollout}


class Command(BaseCommand):
    help = "Changed limits and criticality: tried on what has been, and rolled out in steps."

    def add_arguments(self, parser: ArgumentParser) -> None:
        allow_json(parser)
        subparsers = parser.add_subparsers(dest="subcommand", required=True)
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(name, help=module.__doc__)
            allow_json(subparser)
            module.add_arguments(subparser)

    def handle(self, **options: Any) -> None:
        out = Out(self.stdout, as_json=options.get("json", False))
        with context.a_run():
            status = SUBCOMMANDS[options["subcommand"]].run(options, out)
        if status:
            sys.exit(status)
