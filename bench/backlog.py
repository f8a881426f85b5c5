"""Whoever hands chores over and sees what becomes of them: `python -m bench.backlog`.

Asked as `bench.dialogue` says.
"""

import os
from collections import Counter
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402

from bench import dialogue  # noqa: E402
from bench.chores import BEGUN, DONE, QUEUE, YIELDING  # noqa: E402
from bench.worker import marks  # noqa: E402
from ratelimit.store import Store  # noqa: E402
from stabilizer.background import budget, fleet, tally  # noqa: E402
from stabilizer.celery import app  # noqa: E402
from stabilizer.ops import totals  # noqa: E402

PATIENCE_S = 5
#: Of what the broker keeps.
PREFIX = app.conf.broker_transport_options["global_keyprefix"]
YIELDS = totals.encode((tally.YIELDS, YIELDING, budget.Refusal.PRESSURE))


class Backlog:
    """The chores of one measure."""

    def __init__(self) -> None:
        self._store = Store(settings.REDIS_URL, timeout_s=PATIENCE_S)

    def forget(self) -> None:
        """There is none: nobody may be at work on it."""
        with app.connection_for_write() as connection:
            connection.default_channel.queue_purge(QUEUE)
        marks().delete(BEGUN, DONE)

    def publish(self, task: str, count: int) -> None:
        """As the product publishes its own."""
        for number in range(count):
            app.send_task(task, [number], queue=QUEUE)

    def seen(self) -> dict[str, Any]:
        """Whether there is pressure to which tasks yield, how often they have, and how many ran.

        Those `left` are in the queue, or held by any worker.
        """
        pipeline = marks().pipeline(transaction=False)
        pipeline.llen(BEGUN).llen(DONE).hget(totals.TOTALS, YIELDS)
        pipeline.llen(f"{PREFIX}{QUEUE}").hlen(f"{PREFIX}unacked")
        begun, done, yields, waiting, held = pipeline.execute()
        pressed = fleet.pressure(self._store) >= budget.YIELDS_AT
        return {
            "pressed": pressed,
            "begun": begun,
            "done": done,
            "left": waiting + held,
            "yields": int(yields or 0),
        }

    def runs(self) -> list[int]:
        """How often each has run that has."""
        return list(Counter(marks().lrange(DONE, 0, -1)).values())


if __name__ == "__main__":
    backlog = Backlog()
    dialogue.answer(
        {
            "forget": backlog.forget,
            "publish": backlog.publish,
            "seen": backlog.seen,
            "runs": backlog.runs,
        }
    )
