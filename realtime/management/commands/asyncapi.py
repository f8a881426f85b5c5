"""``manage.py asyncapi``: the protocol as an AsyncAPI document."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from realtime import asyncapi

DOCUMENT = Path(asyncapi.__file__).parent.parent / "docs" / "asyncapi.json"


class Command(BaseCommand):
    help = "Write the AsyncAPI document of the protocol between devices and the gateway."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; end with 1 if the file differs"
        )
        parser.add_argument(
            "--output",
            type=Path,
            default=DOCUMENT,
            metavar="FILE",
            help="default: docs/asyncapi.json",
        )

    def handle(self, *, check: bool, output: Path, **options: Any) -> None:
        made = asyncapi.render()
        if not check:
            output.write_text(made, encoding="utf-8")
        elif not output.is_file() or output.read_text(encoding="utf-8") != made:
            raise CommandError(
                f"{output} is not what the protocol's classes say. Run: manage.py asyncapi"
            )
