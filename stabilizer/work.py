"""What threads do for event loops: a task, and what it brings back."""

import asyncio
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Work(asyncio.Future[T]):
    """What a thread will bring back. It cannot be cancelled: a thread that runs cannot be stopped.

    Whoever awaits it is cancelled only when the thread is done, so a slot held around the `await`
    is never given away while a thread still works under it.
    """

    def cancel(self, msg: Any = None) -> bool:
        return False


class Turns(Protocol):
    """Who decides which tasks compute."""

    def pause(self, task: "Task[Any]") -> None:
        """`task` does not compute for now."""

    def resume(self, task: "Task[Any]") -> None:
        """Returns when `task` may compute again."""


class Task(Generic[T]):
    """`function`, for a thread to call. Made in the event loop that waits for it."""

    __slots__ = ("_function", "_turns", "loop", "since", "turn", "urgent", "work")

    def __init__(self, function: Callable[[], T], turns: Turns, *, urgent: bool) -> None:
        self.urgent = urgent
        self.loop = asyncio.get_running_loop()
        self.work: Work[T] = Work(loop=self.loop)
        #: When it last began to compute.
        self.since = 0.0
        #: Released when it is the turn of a thread that waits to go on.
        self.turn = threading.Lock()
        self.turn.acquire()
        self._function = function
        self._turns = turns

    def run(self) -> None:
        result: T | None = None
        error: BaseException | None = None
        _here.task = self
        try:
            result = self._function()
        except (SystemExit, KeyboardInterrupt, StopIteration) as exception:
            # These would end the event loop, or cannot be raised from a future.
            error = RuntimeError(f"{type(exception).__name__} in a serving thread")
            error.__cause__ = exception
        except BaseException as exception:
            error = exception
        _here.task = None
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            logger.warning("the event loop ended before a serving thread was done")

    def pause(self) -> None:
        self._turns.pause(self)

    def resume(self) -> None:
        self._turns.resume(self)

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if error is None:
            self.work.set_result(cast(T, result))
        else:
            self.work.set_exception(error)


class _Here(threading.local):
    """The task that this thread runs."""

    task: Task[Any] | None = None


class Waiting:
    """`with waiting:` around a wait without computing: other tasks of the pool go on meanwhile.

    Does nothing in a thread that runs no task. Inside of another `waiting` it ends that one.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        if task := _here.task:
            task.pause()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if task := _here.task:
            task.resume()


_here = _Here()
waiting = Waiting()
