"""Takes connections from a listening socket that other processes take from as well."""

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Connections taken in one turn of the event loop. A loop that takes all that wait, as the servers
#: of asyncio and uvloop do, leaves nothing to the other processes: of 600 devices that came at once
#: one of two processes served three quarters, and the other was idle. With a few in each turn the
#: process whose turns are short, because it has little to do, takes more.
AT_A_TIME = 8
#: After the kernel refused another connection for want of descriptors or memory.
PAUSE_S = 0.5


class Acceptor:
    """Makes a protocol of `factory` for each connection to `listener`, until `close`."""

    def __init__(
        self, listener: socket.socket, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listener = listener
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[object]] = set()
        self._closed = False
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Take no more connections. Those that wait are left to the other processes."""
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Until the connections taken last have their protocols."""
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._take)

    def _take(self) -> None:
        for _ in range(AT_A_TIME):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("no connection can be taken: %s", error)
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(PAUSE_S, self._resume)
                return
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        starting: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._factory, connection)
        )
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
