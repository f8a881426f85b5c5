"""A fixed number of threads that work for event loops, of which few compute at a time.

The interpreter's lock lets one thread compute. Several that would like to do not get more done:
they make each other slower, and the event loop too, which has to win that lock several times for
each request (the convoy of https://bugs.python.org/issue7946). So here tasks take turns: one goes
on when no other computes, and what is urgent beside one that does. While a task is `waiting`, for
the database say, it is another's turn.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from stabilizer.work import Task, Work

T = TypeVar("T")

#: A task gets its turn while fewer than so many compute.
ORDINARY, URGENT = 1, 2
#: What has not waited for the database for so long computes on and on, or waits for something that
#: nobody told us of: it is another's turn as well. And nobody waits longer to go on.
LONG_S = 0.05


class Queue:
    """Tasks that wait for their turn: first those that go on, then those that begin."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.returning: deque[Task[Any]] = deque()
        self.new: deque[Task[Any]] = deque()

    def __bool__(self) -> bool:
        return bool(self.returning or self.new)


class Pool:
    """`size` daemon threads, started at the first submission.

    What is urgent has its turn first, and tasks otherwise begin in the order of their submission.

    `on_idle` runs in a thread that had nothing to do for `idle_s` seconds, and when it ends: there
    it gives back what it keeps for itself, such as database connections.
    """

    def __init__(self, size: int, on_idle: Callable[[], object], idle_s: float = 300) -> None:
        self.size = size
        self._on_idle = on_idle
        self._idle_s = idle_s
        self._threads: list[threading.Thread] = []
        #: What idle threads begin; None ends one.
        self._begun: SimpleQueue[Task[Any] | None] = SimpleQueue()
        #: Of what follows; held for a few steps, and never around a task.
        self._lock = threading.Lock()
        self._urgent, self._ordinary = Queue(URGENT), Queue(ORDINARY)
        self._computing: set[Task[Any]] = set()
        self._idle = 0
        self._look_at = 0.0

    def submit(self, function: Callable[[], T], *, urgent: bool = False) -> Work[T]:
        """Have a thread call `function`; must be called in a running event loop."""
        task = Task(function, self, urgent=urgent)
        with self._lock:
            if not self._threads:
                self._start()
            self._queue(task).new.append(task)
            self._begin()
            self._look_soon(task.loop)
        return task.work

    def close(self, timeout_s: float = 10) -> bool:
        """End the threads after the work already submitted; False if one did not end in time."""
        with self._lock:
            threads, self._threads = self._threads, []
            # Who runs a task takes what is left, one after the other.
            self._idle = 0
        for _ in threads:
            self._begun.put(None)
        for thread in threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in threads)

    def pause(self, task: Task[Any]) -> None:
        """`task` does not compute for now. Twice is once."""
        with self._lock:
            self._computing.discard(task)
            self._begin()

    def resume(self, task: Task[Any]) -> None:
        """Returns when it is the turn of `task`, or after `LONG_S`: it may hold what others need.

        Twice is once.
        """
        queue = self._queue(task)
        with self._lock:
            if task in self._computing:
                return
            if len(self._computing) < queue.limit:
                self._count(task)
                return
            queue.returning.append(task)
        if not task.turn.acquire(timeout=LONG_S):
            with self._lock:
                if task in queue.returning:
                    queue.returning.remove(task)
                    self._count(task)
                    return
            task.turn.acquire()

    def _start(self) -> None:
        self._idle = self.size
        self._threads = [
            threading.Thread(target=self._run, name=f"serving-{number}", daemon=True)
            for number in range(self.size)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while True:
            try:
                task = self._begun.get(timeout=self._idle_s)
            except Empty:
                self._on_idle()
                continue
            if task is None:
                break
            while task is not None:
                task.run()
                task = self._end(task)  # an idle thread keeps no request alive
        self._on_idle()

    def _end(self, task: Task[Any]) -> Task[Any] | None:
        """`task` is done. What this thread begins now, if it is the turn of any."""
        with self._lock:
            self._computing.discard(task)
            following = self._next(idle=True)
            if following is None and self._threads:
                self._idle += 1
            return following

    # What follows is called with the lock.

    def _queue(self, task: Task[Any]) -> Queue:
        return self._urgent if task.urgent else self._ordinary

    def _begin(self) -> None:
        """Give everybody his turn whose turn it is."""
        while (task := self._next(idle=self._idle > 0)) is not None:
            self._idle -= 1
            self._begun.put(task)

    def _next(self, *, idle: bool) -> Task[Any] | None:
        """The task that is to begin now, in an idle thread; whoever goes on does so before it."""
        for queue in (self._urgent, self._ordinary):
            while queue and len(self._computing) < queue.limit:
                if queue.returning:
                    task = queue.returning.popleft()
                    self._count(task)
                    task.turn.release()
                elif idle:
                    task = queue.new.popleft()
                    self._count(task)
                    return task
                else:
                    break
        return None

    def _count(self, task: Task[Any]) -> None:
        task.since = time.monotonic()
        self._computing.add(task)

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        if (self._urgent or self._ordinary) and self._look_at <= now:
            self._look_at = now + LONG_S
            loop.call_later(LONG_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count no more who has computed for long."""
        with self._lock:
            now, self._look_at = time.monotonic(), 0.0
            self._computing = {task for task in self._computing if now - task.since < LONG_S}
            self._begin()
            self._look_soon(loop)
