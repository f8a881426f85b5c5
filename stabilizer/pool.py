"""A fixed number of threads that work for event loops."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Work(asyncio.Future[T]):
    """What a thread will bring back. It cannot be cancelled: a thread that runs cannot be stopped.

    Whoever awaits it is cancelled only when the thread is done, so a slot held around the `await`
    is never given away while a thread still works under it.
    """

    def cancel(self, msg: Any = None) -> bool:
        return False


class Task(Generic[T]):
    __slots__ = ("function", "loop", "work")

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.loop = asyncio.get_running_loop()
        self.work: Work[T] = Work(loop=self.loop)

    def run(self) -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = self.function()
        except (SystemExit, KeyboardInterrupt, StopIteration) as exception:
            # These would end the event loop, or cannot be raised from a future.
            error = RuntimeError(f"{type(exception).__name__} in a serving thread")
            error.__cause__ = exception
        except BaseException as exception:
            error = exception
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            logger.warning("the event loop ended before a serving thread was done")

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if error is None:
            self.work.set_result(cast(T, result))
        else:
            self.work.set_exception(error)


class Pool:
    """`size` daemon threads, started at the first submission, that take what is urgent first.

    Otherwise they take work in the order in which it was submitted.

    `on_idle` runs in a thread that had nothing to do for `idle_s` seconds, and when it ends: there
    it gives back what it keeps for itself, such as database connections.
    """

    def __init__(self, size: int, on_idle: Callable[[], object], idle_s: float = 300) -> None:
        self.size = size
        self._on_idle = on_idle
        self._idle_s = idle_s
        self._urgent: deque[Task[Any]] = deque()
        self._ordinary: deque[Task[Any]] = deque()
        #: True for each task that was submitted, False for each thread that shall end.
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, function: Callable[[], T], *, urgent: bool = False) -> Work[T]:
        """Have a thread call `function`; must be called in a running event loop."""
        if not self._threads:
            self._start()
        task = Task(function)
        (self._urgent if urgent else self._ordinary).append(task)
        self._orders.put(True)
        return task.work

    def close(self, timeout_s: float = 10) -> bool:
        """End the threads after the work already submitted; False if one did not end in time."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._orders.put(False)
        for thread in threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in threads)

    def _start(self) -> None:
        self._threads = [
            threading.Thread(target=self._run, name=f"serving-{number}", daemon=True)
            for number in range(self.size)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while True:
            try:
                is_work = self._orders.get(timeout=self._idle_s)
            except Empty:
                self._on_idle()
                continue
            if not is_work:
                break
            task = self._next()
            task.run()
            del task  # an idle thread keeps no request alive
        self._on_idle()

    def _next(self) -> Task[Any]:
        # There are never fewer tasks than orders that were taken, whichever thread takes which.
        try:
            return self._urgent.popleft()
        except IndexError:
            return self._ordinary.popleft()
