"""Somebody who approves waiting devices at a steady pace: `python -m bench.approving`.

Asked as `bench.dialogue` says. It does what a web process does for an operator, without HTTP.
"""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from accounts import snapshot  # noqa: E402
from accounts.principal import ALL_SCOPES, Principal  # noqa: E402
from bench import dialogue, pairings  # noqa: E402
from pairing import approval, signals  # noqa: E402
from pairing.refusal import Refusal  # noqa: E402
from ratelimit import revision  # noqa: E402
from stabilizer.demo import subscriber_code  # noqa: E402
from stabilizer.stampede.device import SUBSCRIBERS  # noqa: E402


class Approver:
    """An operator of the demonstration's tenant."""

    def __init__(self) -> None:
        revision.refresh()
        tenant = next(iter(snapshot.current().tenants.values()))
        self._operator = Principal(
            "key", "bench", tenant.id, tenant.slug, tenant.plan, frozenset(ALL_SCOPES)
        )
        self._udid = ""
        self._committed: dict[str, float] = {}
        self._refusals: Counter[str] = Counter()
        # After the publisher, which is asked first.
        signals.changed.connect(self._note)

    def approve(self, file: str, first: int, count: int, per_s: float) -> dict[str, Any]:
        """The moment after each commit by UDID, on the clock of all processes; and the refusals."""
        lines = pairings.read(Path(file), first, count)
        self._committed, self._refusals = {}, Counter()
        began, cpu_began = time.monotonic(), time.process_time()
        for number, line in enumerate(lines):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            self._udid = line.udid
            subscriber = subscriber_code(1 + number % SUBSCRIBERS)
            outcome = approval.approve(
                self._operator, user_code=line.user_code, subscriber_code=subscriber
            )
            if isinstance(outcome, Refusal):
                self._refusals[outcome.code] += 1
        return {
            "committed": self._committed,
            "refused": dict(self._refusals),
            "took_s": time.monotonic() - began,
            "cpu_s": time.process_time() - cpu_began,
        }

    def _note(self, **_: Any) -> None:
        self._committed.setdefault(self._udid, time.monotonic())


if __name__ == "__main__":
    dialogue.answer({"approve": Approver().approve})
