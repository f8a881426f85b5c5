"""``manage.py stampede``: starts the load process, which knows nothing of Django."""

import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from stabilizer.stampede import options


class Command(BaseCommand):
    help = options.DESCRIPTION
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        options.add(parser)

    def handle(self, **given: Any) -> None:
        command = [sys.executable, "-m", "stabilizer.stampede", *options.words(given)]
        sys.exit(subprocess.call(command))  # noqa: S603
