"""Looks at the trail when all is over: `python -m dev.chaos.check`.

Reads {"done": {request id: action}, "limit_s"} and answers what was found, once everything that
waits in spools and outbox has come or `limit_s` has passed.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402

from audit import checkpoints, gaps, stats, verification  # noqa: E402
from audit.models import DeadLetter, Event  # noqa: E402
from audit.signing import Verifier  # noqa: E402

AT_ONCE = 500


def main() -> None:
    given = json.load(sys.stdin)
    drained_s = _drain(given["limit_s"])
    marks = list(checkpoints.read(Path(settings.AUDIT_CHECKPOINT_DIR)))
    reports = list(verification.verify(marks, Verifier()))
    left = stats.collect()
    json.dump(
        {
            **_compare(given["done"]),
            "events": sum(report.events for report in reports),
            "drained_s": round(drained_s, 1),
            "still_waiting": left.waiting_events + left.outbox_rows,
            "dead_letters": DeadLetter.objects.count(),
            "gaps": len(gaps.find()),
            "faults": [str(report.fault) for report in reports if report.fault],
        },
        sys.stdout,
    )


def _drain(limit_s: float) -> float:
    began = time.monotonic()
    while (took_s := time.monotonic() - began) < limit_s:
        found = stats.collect()
        if not (found.waiting_events or found.outbox_rows):
            break
        time.sleep(0.5)
    return took_s


def _compare(done: Mapping[str, str]) -> dict[str, Any]:
    """Of what was answered: what is not in the trail, and what is in it more than once."""
    found: Counter[tuple[str, str]] = Counter()
    ids = list(done)
    for first in range(0, len(ids), AT_ONCE):
        events = Event.objects.filter(request_id__in=ids[first : first + AT_ONCE])
        found.update(events.values_list("request_id", "action"))
    return {
        "answered": len(done),
        "lost": sum(not found[pair] for pair in done.items()),
        "doubled": sum(found[pair] > 1 for pair in done.items()),
    }


if __name__ == "__main__":
    main()
