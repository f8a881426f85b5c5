"""prove that the trail is what was written; 1 names the first row that is not"""

from argparse import ArgumentParser
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Sum

import audit
from audit import checkpoints, gaps, signing, verification
from audit.console.out import Out
from audit.models import Day
from audit.signing import Verifier
from audit.verification import DayReport


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--first", type=date.fromisoformat, metavar="DAY", help="2026-11-26")
    parser.add_argument("--last", type=date.fromisoformat, metavar="DAY")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="where the signed checkpoints are (AUDIT_CHECKPOINT_DIR); best a copy from elsewhere",
    )
    parser.add_argument(
        "--public-key",
        action="append",
        default=[],
        metavar="HEX",
        help="an older key, or that of another installation; may be repeated",
    )
    parser.add_argument("--show-key", action="store_true", help="only print our public key")


def run(options: dict[str, Any], out: Out) -> int:
    if options["show_key"]:
        out.object({"public_key": signing.public_key()})
        out.line(signing.public_key())
        return 0
    directory = options["checkpoints"] or Path(settings.AUDIT_CHECKPOINT_DIR)
    try:
        marks = list(checkpoints.read(directory))
        verifier = Verifier(*options["public_key"])
    except ValueError as error:
        out.line(str(error))
        out.object({"error": str(error)})
        return 2
    span = {"first": options["first"], "last": options["last"]}
    faults = 0
    with out.progress("verifying", _rows(**span)) as bar:
        for report in verification.verify(marks, verifier, **span, progress=bar.advance):
            _tell(report, out)
            faults += report.fault is not None
    missing = gaps.find()
    for gap in missing:
        out.object({"missing": asdict(gap)})
        out.line(f"{gap.spool}: bytes {gap.start_byte} to {gap.end_byte} never came")
    if not marks:
        out.line(f"no checkpoint in {directory}: a tail that was cut off would not be noticed")
    return 1 if faults or missing else 0


def _rows(first: date | None, last: date | None) -> int:
    days = Day.objects.filter(dropped_at=None)
    if first:
        days = days.filter(day__gte=first)
    if last:
        days = days.filter(day__lte=last)
    return days.aggregate(rows=Sum("height"))["rows"] or 0


def _tell(report: DayReport, out: Out) -> None:
    out.object(asdict(report))
    fault = report.fault
    if fault is None:
        out.line(f"{report.day}  {report.events:>12,} events, {report.checkpoints} checkpoints: ok")
        return
    row = f" ({fault.event})" if fault.event else ""
    out.line(f"{report.day}  number {fault.number}{row}: {fault.wrong}: {fault.explanation}")
    # The trail is told of it, and with it whoever is alarmed by its critical events.
    audit.record("audit.chain_broken", "found", subject=f"day:{fault.day}", detail=asdict(fault))
