"""How a change of the configuration reaches every process, within a second or two.

A change raises the number of the one `Revision` row in its own transaction, and Redis is told on
commit. A thread of each process watches both, so no request ever looks.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import F

from ratelimit import store
from ratelimit.store import Store, StoreAway

logger = logging.getLogger(__name__)

KEY = "rl:{-}:revision"
ROW = 1
REDIS_EVERY_S = 0.5
DATABASE_EVERY_S = 10.0
#: While Redis is away the database alone tells of changes.
DATABASE_ALONE_EVERY_S = 1.0

_callbacks: list[Callable[[], object]] = []
_looks: list[Callable[[], object]] = []


def on_change(callback: Callable[[], object]) -> None:
    """Has `callback` run after every change, by the watcher's thread. Registering twice is once."""
    if callback not in _callbacks:
        _callbacks.append(callback)


def on_look(callback: Callable[[], object]) -> None:
    """Has `callback` run each `REDIS_EVERY_S`: for what changes too often to announce."""
    if callback not in _looks:
        _looks.append(callback)


def refresh() -> None:
    """Runs the callbacks of changes now; raises what they raise."""
    for callback in _callbacks:
        callback()


def bump() -> None:
    """Makes every process read the configuration again once this transaction has committed.

    The row stays locked until then, so call it last. Never fails for Redis: the watchers find the
    new number in the database.
    """
    from ratelimit.models import Revision  # models cannot be imported before the apps are ready

    with transaction.atomic():
        if not Revision.objects.filter(pk=ROW).update(number=F("number") + 1):
            Revision.objects.create(pk=ROW, number=1)
        number = current()
        transaction.on_commit(lambda: _tell(number))


def ensure_row(**_: object) -> None:
    """The one row, made after `migrate`: changes that all had to make it would deadlock."""
    from ratelimit.models import Revision

    Revision.objects.get_or_create(pk=ROW)


def current() -> int:
    """The number in the database; 0 before the first change."""
    from ratelimit.models import Revision

    row = Revision.objects.filter(pk=ROW).values_list("number", flat=True).first()
    return row or 0


def _tell(number: int) -> None:
    try:
        store.shared().call(lambda client: client.set(KEY, number))
    except StoreAway:
        logger.info("revision %d: Redis is away, the database will tell", number)


class Watcher:
    """Runs the callbacks whenever the number has changed, in Redis or in the database."""

    def __init__(self, watched: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = watched
        self._clock = clock
        self._in_redis: Any = None
        self._in_database: int | None = None
        self._looked_at = float("-inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="revision", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def look(self) -> None:
        """Looks once; a change that could not be followed is tried again at the next look."""
        for callback in _looks:
            callback()
        try:
            in_redis, every_s = self._store.call(lambda client: client.get(KEY)), DATABASE_EVERY_S
        except StoreAway:
            in_redis, every_s = self._in_redis, DATABASE_ALONE_EVERY_S
        now = self._clock()
        if in_redis == self._in_redis and now < self._looked_at + every_s:
            return
        in_database = current()
        if (in_redis, in_database) != (self._in_redis, self._in_database):
            refresh()
        self._in_redis, self._in_database, self._looked_at = in_redis, in_database, now

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                self.look()
            except DatabaseError as error:
                logger.warning("the configuration could not be read again: %s", error)
                connection.close()
            except Exception:
                logger.exception("the configuration could not be followed")
            self._stopped.wait(REDIS_EVERY_S)
        connection.close()


_watcher: Watcher | None = None


def start() -> None:
    """Begins to follow changes in this process; again after a fork. Twice is once."""
    global _watcher
    if _watcher is None:
        _watcher = Watcher(store.shared())
        _watcher.start()


def stop() -> None:
    """Ends what `start` began."""
    global _watcher
    if _watcher is not None:
        _watcher.stop()
        _watcher = None


def _forget() -> None:
    global _watcher
    _watcher = None


os.register_at_fork(after_in_child=_forget)
