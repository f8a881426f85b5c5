"""Takes connections for one process of several that serve one port."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

#: How often to look whether another process leaves connections waiting.
SPARE_EVERY_S = 0.05
#: The same after some were found there.
SPARE_SOON_S = 0.005
#: After the kernel refused another connection for want of descriptors or memory.
PAUSE_S = 0.5


class Acceptor:
    """Makes a protocol of `factory` for each connection to `listener`, until `close`.

    It takes up to `at_a_time` in one turn of the event loop, and the next ones `rest_s` later, so
    that those it has are served in between.
    `spares` are the listeners of the other processes: what waits there was left by one that is
    busy, restarting or dead, and is taken after `SPARE_EVERY_S`.
    """

    def __init__(
        self,
        listener: socket.socket,
        spares: Sequence[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        at_a_time: int = 32,
        rest_s: float = 0,
    ) -> None:
        self._listener = listener
        self._spares = spares
        self._factory = factory
        self._at_a_time = at_a_time
        self._rest_s = rest_s
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[object]] = set()
        self._closed = False
        for each in (listener, *spares):
            each.setblocking(False)
        self._resume()
        if spares:
            self._look_around()

    def close(self) -> None:
        """Take no more connections. Those that wait are left to the other processes."""
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Until the connections taken last have their protocols."""
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._take_own)

    def _look_around(self) -> None:
        if self._closed:
            return
        are_more = [self._take(spare) for spare in self._spares]
        pause_s = max(self._rest_s, SPARE_SOON_S) if any(are_more) else SPARE_EVERY_S
        self._loop.call_later(pause_s, self._look_around)

    def _take_own(self) -> None:
        if self._take(self._listener) and self._rest_s:
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(self._rest_s, self._resume)

    def _take(self, listener: socket.socket) -> bool:
        """Take some of those that wait; True if there may be more."""
        for _ in range(self._at_a_time):
            try:
                connection, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                logger.error("no connection can be taken: %s", error)
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(PAUSE_S, self._resume)
                return False
            self._begin(connection)
        return True

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        starting: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._factory, connection)
        )
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
