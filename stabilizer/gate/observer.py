"""What the gate counts of its requests, for the dashboard and for Prometheus.

Each event costs a few additions. What is counted by is bounded by policies, limits and buckets, and
never grows with callers. Nobody reads here: `stabilizer.ops` takes the counts once a second.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence

from stabilizer.gate.policy import Policy

#: `("requests", policy, outcome)`, `("duration", criticality, bucket)` and so on, with its number.
Key = tuple[str | int, ...]
Counts = dict[Key, int]

#: Renard's series R10: ten buckets for each power of ten, none wider than 27 %.
STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
#: Upper bounds of the buckets in seconds, inclusive, from 0.1 ms to 80 s; one more takes the rest.
BOUNDS = tuple(round(step * 10.0**power, 8) for power in range(-4, 2) for step in STEPS)
ANSWERED, FAILED, LEFT, REFUSED = "answered", "failed", "left", "refused"
#: Of a trial: the other is `REFUSED`.
ADMITTED = "admitted"


class Observer:
    """The counts of one process since they were last taken; exact, whichever threads count."""

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._counts: Counts = {}
        self._lock = threading.Lock()

    def take(self) -> Counts:
        """What was counted since the last call; nothing is counted twice or lost between two."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def arrived(self) -> None:
        """A request has come, whatever becomes of it."""
        self._add(("arrived",))

    def ended(self, policy: Policy, status: int, duration_s: float, waited_s: float) -> None:
        """An admitted request is over; `status` 0: its client left before an answer began.

        `duration_s` is the time from its arrival until its answer began, `waited_s` that part of it
        in which it waited for a slot.
        """
        if status == 0:
            self._add(("requests", policy.name, LEFT))
            return
        outcome = FAILED if status >= 500 else ANSWERED
        criticality = policy.level
        with self._lock:
            counts = self._counts
            for key, number in (
                (("requests", policy.name, outcome), 1),
                (("duration", criticality, bisect_left(BOUNDS, duration_s)), 1),
                (("duration_us", criticality), int(duration_s * 1e6)),
                (("wait", bisect_left(BOUNDS, waited_s)), 1),
                (("wait_us",), int(waited_s * 1e6)),
            ):
                counts[key] = counts.get(key, 0) + number

    def refused(self, policy: Policy, reasons: Sequence[str], waited_s: float = 0) -> None:
        """The gate has refused a request, for each of `reasons`; perhaps after it had waited."""
        with self._lock:
            counts = self._counts
            keys: list[Key] = [("refusals", policy.name, reason) for reason in reasons]
            keys.append(("requests", policy.name, REFUSED))
            if waited_s:
                keys.append(("wait", bisect_left(BOUNDS, waited_s)))
                counts["wait_us",] = counts.get(("wait_us",), 0) + int(waited_s * 1e6)
            for key in keys:
                counts[key] = counts.get(key, 0) + 1

    def tried(self, trial: str, *, refused: bool) -> None:
        """Of what the policy in force admits, a changed one has admitted or refused something."""
        self._add(("trial", trial, REFUSED if refused else ADMITTED))

    def pushed(self, delay_s: float) -> None:
        """A waiting device was sent its credentials so long after they were approved."""
        with self._lock:
            counts = self._counts
            for key, number in (
                (("push", bisect_left(BOUNDS, delay_s)), 1),
                (("push_us",), int(delay_s * 1e6)),
            ):
                counts[key] = counts.get(key, 0) + number

    def turned_away(self, reason: str) -> None:
        """The gateway has refused a connection, for want of room or because of a cap."""
        self._add(("turned_away", reason))

    def left(self, policy: Policy) -> None:
        """A client has gone before its request was admitted."""
        self._add(("requests", policy.name, LEFT))

    def _add(self, key: Key) -> None:
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
