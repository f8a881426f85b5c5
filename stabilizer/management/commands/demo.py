"""``manage.py demo``: a tenant with subscribers, a key and people, to try everything with."""

import json
import time
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import Progress

from audit import context
from stabilizer import demo


class Command(BaseCommand):
    help = "Make the demo data. Safe to repeat: what is there already stays as it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--subscribers", type=int, default=1000, metavar="N")
        parser.add_argument("--cards", type=int, default=10, metavar="N", help="per subscriber")
        parser.add_argument(
            "--admin-password",
            metavar="TEXT",
            help="password of the people admin and ana; left out, new people get a random one",
        )
        parser.add_argument(
            "--key-file",
            type=Path,
            metavar="FILE",
            help="holds the API key; a key in it that still works is kept",
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, **options: Any) -> None:
        started = time.monotonic()
        console = Console(stderr=True, quiet=options["json"])
        with context.a_run(), Progress(console=console, transient=True) as progress:
            total = options["subscribers"] * (1 + options["cards"])
            task = progress.add_task("Demo data", total=total)
            made = demo.make(
                subscribers=options["subscribers"],
                cards=options["cards"],
                password=options["admin_password"],
                key_file=options["key_file"],
                advance=lambda rows: progress.advance(task, rows),
            )
        if options["json"]:
            self.stdout.write(json.dumps(asdict(made)))
        else:
            self.stdout.write(_words(made, time.monotonic() - started))


def _words(made: demo.Demo, seconds: float) -> str:
    password = made.password or "unchanged"
    return (
        f"tenant       {made.tenant}, client {made.client_id}\n"
        f"subscribers  {made.subscribers_made} new, with {made.smartcards_made} new smartcards\n"
        f"API key      {made.api_key}{' (new)' if made.api_key_is_new else ''}\n"
        f"people       {made.admin_user} (admin), {made.person} ({demo.subscriber_code(1)}), "
        f"password {password}\n"
        f"done in {seconds:.1f} s"
    )
