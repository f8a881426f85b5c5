"""A TCP proxy that can hang, refuse, lose replies and be slow: the faults of a server, on demand.

It runs on a thread of its own, so that it goes on while the code under test blocks.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

CHUNK = 65536


class Proxy:
    """Stands at `127.0.0.1:port` before a server. Until told otherwise everything passes.

    `requests` counts the chunks that reached the server, so a test can show that nothing was sent.
    """

    def __init__(self, server: int | str) -> None:
        """`server` is a port of 127.0.0.1, or the path of a Unix socket."""
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._loses_replies = False
        self._delay_s = 0.0
        self.port = 0
        self.requests = 0
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        self._flowing.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def hang(self) -> None:
        """Connections are accepted and stay open, and nothing moves until `heal`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)
        self._settle()

    def refuse(self) -> None:
        """Connections are cut, and new ones refused."""
        self._do(self._stop_listening())

    def lose_replies(self) -> None:
        """Requests reach the server; what it answers is lost."""
        self._loses_replies = True
        self._settle()

    def slow_down(self, delay_s: float) -> None:
        """Every answer comes this much later."""
        self._delay_s = delay_s
        self._settle()

    def cut(self) -> None:
        """Connections are cut once; new ones work."""
        self._do(self._cut())

    def heal(self) -> None:
        """Everything passes again, also what a hang held up."""
        self._loses_replies = False
        self._delay_s = 0.0
        self._loop.call_soon_threadsafe(self._flowing.set)
        if self._listener is None:
            self._do(self._listen())
        self._settle()

    def _do(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(5)

    def _settle(self) -> None:
        self._do(asyncio.sleep(0))

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        for link in tuple(self._links):
            link.transport.abort()

    async def _end(self) -> None:
        await self._stop_listening()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._links.add(writer)
        server_writer = None
        try:
            server_reader, server_writer = await self._open()
            self._links.add(server_writer)
            await asyncio.gather(
                self._requests(reader, server_writer), self._replies(server_reader, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for link in (writer, server_writer):
                if link is not None:
                    self._links.discard(link)
                    link.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._server, str):
            return await asyncio.open_unix_connection(self._server)
        return await asyncio.open_connection("127.0.0.1", self._server)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            self.requests += 1
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if not self._loses_replies:
                writer.write(data)
                await writer.drain()
        writer.close()
