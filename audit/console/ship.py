"""hand this host's records to the workers, until stopped"""

import os
import signal
import threading
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from audit import tasks
from audit.console.out import Out
from audit.shipper import Shipper

#: What it leaves to requests on its host, on the kernel's scale from 0 to 19.
NICENESS = 10


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one round, then end")


def run(options: dict[str, Any], out: Out) -> int:
    shipper = Shipper(Path(settings.AUDIT_SPOOL_DIR), tasks.hand_over)
    if options["once"]:
        out.counts(asdict(shipper.round()))
        return 0
    os.nice(NICENESS)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    out.line(f"shipping {settings.AUDIT_SPOOL_DIR}")
    shipper.run(stopped)
    return 0
