"""How long the store takes, apart from our own delays: busy threads and a busy event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

from redis.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import ResponseError, TimeoutError

#: The longest a request waits for the store, connecting included.
TIMEOUT_S = 0.050
#: It is waited for in steps; an answer that takes longer than the first, 10 ms, is slow.
STEPS = 5
PROBE_KEY = "rl:{-}:probe"


class TimedConnection(AbstractConnection):
    """Gives up on an answer after the time-out, connecting included, and reports each one's pace.

    The time is that which the kernel waited, in steps and without the interpreter's lock: busy
    threads of our own are not taken for a slow store.
    """

    def __init__(
        self,
        *args: Any,
        on_answer: Callable[[bool], None],
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> None:
        self._on_answer = on_answer
        self._step_s = timeout_s / STEPS
        self._greeting = False
        self._waited = 0
        self.slow = False
        super().__init__(*args, **options)

    def on_connect_check_health(self, check_health: bool = True) -> None:
        self._greeting, self._waited = True, 0
        super().on_connect_check_health(check_health)
        self._greeting = False

    def answers_well(self) -> bool:
        """Whether one small write is answered without being slow; raises redis-py's errors."""
        self.send_command("SET", PROBE_KEY, "1", "PX", "1000")  # type: ignore[no-untyped-call]
        self.read_response()
        return not self.slow

    def read_response(self, *args: Any, **options: Any) -> Any:
        self.slow = False
        while not self.can_read(timeout=self._step_s):
            self.slow = True
            self._waited += 1
            if self._waited >= STEPS:
                self.disconnect()  # type: ignore[no-untyped-call]
                raise TimeoutError("no answer in time")
        try:
            answer = super().read_response(*args, **options)
        except ResponseError:
            self._on_answer(self.slow)
            raise
        if not self._greeting:
            self._waited = 0
        self._on_answer(self.slow)
        return answer


class Patience:
    """Ends an await after the time-out, counted in steps that the event loop really took.

    Between two steps the loop has looked at its sockets, so a loop that was busy elsewhere is not
    taken for a slow store. It is `slow` after the first step and one more look.
    """

    #: Of the time-out; the second step is that look.
    PARTS = (0.20, 0.02, 0.26, 0.26, 0.26)

    def __init__(self, deadline: asyncio.Timeout, timeout_s: float = TIMEOUT_S) -> None:
        self._deadline = deadline
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._taken = 0
        self._timer = self._loop.call_later(self.PARTS[0] * timeout_s, self._step)

    @property
    def slow(self) -> bool:
        return self._taken >= 2

    def end(self) -> None:
        self._timer.cancel()

    def _step(self) -> None:
        self._taken += 1
        if self._taken == len(self.PARTS):
            self._deadline.reschedule(self._loop.time())
        else:
            step_s = self.PARTS[self._taken] * self._timeout_s
            self._timer = self._loop.call_later(step_s, self._step)


def timed_connection(url: str) -> type[TimedConnection]:
    """The `TimedConnection` that suits the URL: TCP, a Unix socket or TLS."""
    options = parse_url(url)  # type: ignore[no-untyped-call]
    connection = options.get("connection_class", Connection)
    return type("Timed" + connection.__name__, (TimedConnection, connection), {})
