"""What a record costs whoever makes it, in this process: `python -m bench.recording`.

Reads {"records", "commits", "rounds"} and answers the p50 and p99 of each way, in microseconds:
ours; ours while other threads compute; a row inserted and committed; a Celery task for each event.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

import django

django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402

import audit  # noqa: E402
from audit import context, entry, identifier, registry  # noqa: E402
from audit.context import RequestContext  # noqa: E402
from audit.models import Outbox  # noqa: E402
from bench.rounds import in_turn  # noqa: E402
from stabilizer.celery import app  # noqa: E402

REQUEST = RequestContext(identifier.new(), identifier.new(), "203.0.113.7", "Mozilla/5.0 (SmartTV)")
ABOUT: dict[str, Any] = {
    "subject": "pairing:0123456789",
    "actor": "device:0123456789",
    "tenant": "demo",
    "detail": {"app_type": "tv", "count": 1},
}
QUEUE = "bench"


def main() -> None:
    given = json.load(sys.stdin)
    with context.bound(REQUEST):
        measures: dict[str, Callable[[], list[float]]] = {
            "record": lambda: _spread(record, given["records"]),
            "threads": lambda: _in_threads(given["records"]),
            "commit": lambda: _spread(commit, given["commits"]),
            "celery": lambda: _published(given["commits"]),
        }
        for measure in measures.values():
            measure()
        json.dump(in_turn(given["rounds"], measures), sys.stdout)


def record() -> None:
    audit.record("gate.refused", "refused", **ABOUT)


def commit() -> None:
    """The row of a table with one key, committed: the least that a database asks for."""
    draft = entry.Draft(registry.ACTIONS["gate.refused"], "refused", **ABOUT)
    entry_id, text = entry.encode(draft)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Outbox._meta.db_table} (id, producer, entry) VALUES (%s, %s, %s)",
            [entry_id, "bench", text],
        )


def publish() -> None:
    app.send_task("bench.event", args=[{"action": "gate.refused", **ABOUT}], queue=QUEUE)


def _published(times: int) -> list[float]:
    """Nobody takes them from their queue, which is bounded."""
    broker: Any = app.connection_for_write()
    try:
        return _spread(publish, times)
    finally:
        with broker:
            broker.default_channel.queue_purge(QUEUE)


def _spread(act: Callable[[], None], times: int) -> list[float]:
    """p50 and p99 in microseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter_ns()
        act()
        taken.append((time.perf_counter_ns() - began) / 1000)
    cuts = quantiles(taken, n=100)
    return [cuts[49], cuts[98]]


def _in_threads(times: int) -> list[float]:
    """The same while the other threads of a pool compute, as views do."""
    stopped = threading.Event()

    def compute() -> None:
        while not stopped.is_set():
            json.loads(json.dumps(ABOUT))

    others = [threading.Thread(target=compute) for _ in range(settings.SERVING_THREADS - 1)]
    for other in others:
        other.start()
    try:
        return _spread(record, times)
    finally:
        stopped.set()
        for other in others:
            other.join()


if __name__ == "__main__":
    main()
