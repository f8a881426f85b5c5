"""The application of the tests' workers: ours, with tasks that leave marks in Redis.

A test stops such a worker, or kills it, at a moment of its choice by the keys `test:...`.
"""

import os
import signal
from typing import Any, NoReturn

import redis
from celery.signals import after_task_publish, before_task_publish, worker_ready

from stabilizer import celery
from stabilizer.celery import YIELDS, app

# Tests wait for it, and a busy machine would have them wait for minutes.
celery.NICENESS = 0
app.conf.broker_transport_options |= {
    "visibility_timeout": int(os.environ.get("TEST_VISIBILITY_S", "120")),
    "unacked_restore_interval": 1,
}
marks = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.task(name="tests.mark")  # type: ignore[untyped-decorator]
def mark(number: int) -> None:
    marks.rpush("test:ran", number)


@worker_ready.connect  # type: ignore[untyped-decorator]
def tell_ready(**_: Any) -> None:
    marks.set("test:ready", os.getpid())


@before_task_publish.connect  # type: ignore[untyped-decorator]
def before_it_is_put_back(headers: dict[str, Any], **_: Any) -> None:
    if YIELDS in headers and marks.getdel("test:die-before"):
        die()
    if YIELDS in headers and marks.getdel("test:stop-before"):
        marks.rpush("test:stopped", 1)
        marks.blpop(["test:go"], 20)


@after_task_publish.connect  # type: ignore[untyped-decorator]
def after_it_was_put_back(headers: dict[str, Any], **_: Any) -> None:
    if YIELDS in headers and marks.getdel("test:die-after"):
        die()


def die() -> NoReturn:
    """As `kill -9` of the worker: its process ends with it."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
