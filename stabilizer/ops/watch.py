"""Takes a changed policy back by itself when it refuses too many who were admitted before.

The process that collects for the dashboard does it: it reads the fleet's totals once a second
anyway, and when it ends another collects within 3 s.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from django.db import close_old_connections, connections

from ratelimit import rollouts
from ratelimit.models import Rollout
from ratelimit.rollouts import Figures
from stabilizer.gate import policy
from stabilizer.gate.observer import ADMITTED, REFUSED, Counts

logger = logging.getLogger(__name__)

#: How often what was counted is kept for people to look at.
NOTE_EVERY_S = 5.0


class Watch:
    """Looks at the roll-out that goes on, if one does. Lives in one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted_at = clock()
        self._acting: asyncio.Task[None] | None = None

    def look(self, counts: Counts) -> None:
        """Act on the fleet's totals, away from the event loop; one act at a time."""
        rollout = policy.table.rollout
        if rollout is None or (self._acting and not self._acting.done()):
            return
        figures = of(counts, rollout)
        if misses(rollout, figures):
            self._act(rollouts.withdraw, rollout, figures)
        elif self._clock() >= self._noted_at + NOTE_EVERY_S:
            self._noted_at = self._clock()
            self._act(rollouts.note, rollout, figures)

    async def stop(self) -> None:
        """Ends when the act under way has ended."""
        if self._acting is not None:
            await asyncio.wait([self._acting])

    def _act(
        self, act: Callable[[Rollout, Figures], object], rollout: Rollout, figures: Figures
    ) -> None:
        self._acting = asyncio.create_task(_in_a_thread(act, rollout, figures), name="rollout")


def of(counts: Counts, rollout: Rollout) -> Figures:
    """What was counted of this step of a roll-out."""
    trial = rollout.trial
    return Figures(
        counts.get(("trial", trial, ADMITTED), 0), counts.get(("trial", trial, REFUSED), 0)
    )


def misses(rollout: Rollout, figures: Figures) -> bool:
    """Whether more was refused than may be, of enough requests to tell."""
    counted = figures.admitted + figures.refused
    return counted >= rollout.least and 100 * figures.refused > rollout.bound * counted


async def _in_a_thread(
    act: Callable[[Rollout, Figures], object], rollout: Rollout, figures: Figures
) -> None:
    def run() -> None:
        close_old_connections()
        try:
            act(rollout, figures)
        finally:
            connections.close_all()

    try:
        await asyncio.to_thread(run)
    except Exception:
        # The next second tries again.
        logger.exception("the roll-out %s could not be attended to", rollout)
