"""Background work: the Celery application, its queues, and what runs by the clock.

Nothing waits for a task's result, and the broker may forget any message: what must not be lost is
in the spool or in the outbox, and is handed over again.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")

DEFAULT_QUEUE = "default"
#: Messages that may wait in one queue. Redis holds the limits too, and never evicts.
MOST_WAITING = 1_000
#: A task unacknowledged for this long is given to another worker: longer than any task may be put
#: back for, and run.
VISIBILITY_S = 240
TIME_LIMIT_S = 90
#: Tasks whose names begin so need no slot: what they carry must not wait for quieter hours.
EXEMPT = ("audit.",)
#: The header of a message that was put back: how often it was.
YIELDS = "yields"
#: What a worker leaves to others on its host, on the kernel's scale from 0 to 19.
NICENESS = 10


class QueueFull(Exception):
    """So many messages wait already that this one was not published."""

    def __init__(self, queue: str, waiting: int) -> None:
        self.queue = queue
        self.waiting = waiting
        super().__init__(f"{waiting} messages wait in the queue {queue!r}: is a worker running?")


def is_exempt(task: str) -> bool:
    """Whether the task of that name runs and is published whatever is asked of the fleet."""
    return task.startswith(EXEMPT)


class Bounded(Celery):
    """Celery that raises `QueueFull` instead of publishing where `MOST_WAITING` messages wait.

    What workers hold waits as well: that is where messages are that were put back. They stand in no
    exempt task's way, and are not refused when they are put back again.
    """

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        queue = options.get("queue") or DEFAULT_QUEUE
        if YIELDS not in (options.get("headers") or {}):
            waiting = self._waiting(queue, options.get("producer"), held=not is_exempt(name))
            if waiting >= MOST_WAITING:
                raise QueueFull(queue, waiting)
        publish: Any = super().send_task
        return publish(name, *args, **options)

    def _waiting(self, queue: str, producer: Any, *, held: bool) -> int:
        acquire: Any = self.producer_or_acquire
        with acquire(producer) as acquired:
            channel = acquired.channel
            waiting = int(channel.queue_declare(queue=queue).message_count)
            return waiting + (int(channel.client.hlen(channel.unacked_key)) if held else 0)


def every(seconds: float, task: str) -> dict[str, Any]:
    """A run that is not taken until the next one is due is dropped: that one does its work."""
    return {"task": task, "schedule": seconds, "options": {"expires": seconds}}


app: Any = Bounded(  # type: ignore[no-untyped-call]
    "stabilizer", task_cls="stabilizer.background.yielding:Yielding"
)
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_S,
        # Look for abandoned messages every ten seconds, and not every hundred.
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "global_keyprefix": "celery:",
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Whoever publishes is told at once that the broker is away.
    task_publish_retry=False,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=TIME_LIMIT_S,
    task_default_queue=DEFAULT_QUEUE,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    timezone="UTC",
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "move the audit outbox": every(1.0, "audit.tasks.move_outbox"),
        "sign how far the trail has come": every(60.0, "audit.tasks.checkpoint"),
        "make the trail's next partitions": every(3600.0, "audit.tasks.make_partitions"),
        "drop what is over its retention": every(3600.0, "audit.tasks.retain"),
        "end overdue pairings": every(30.0, "pairing.tasks.sweep"),
    },
)
app.autodiscover_tasks()


@worker_init.connect  # type: ignore[untyped-decorator]
def yield_to_requests(**_: Any) -> None:
    """Work in the background has time; where it shares a host with requests, they go first."""
    os.nice(NICENESS)
