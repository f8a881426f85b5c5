"""A database that does so many things at once and takes its time: `python -m bench.slow_database`.

Stands before a real one. Reads its orders, a line of JSON each, from standard input: the server's
port first; then {"at_once", "takes_s"} as often as the pace shall change. Says its own port.
"""

import asyncio
import json
import sys
from contextlib import suppress

from dev import ports

CHUNK = 65536


class Pace:
    """What the database can do: any number of statements wait for `at_once` places."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(1_000)
        self._takes_s = 0.0

    def change(self, at_once: int, takes_s: float) -> None:
        self._places, self._takes_s = asyncio.Semaphore(at_once), takes_s

    async def keep(self) -> None:
        """Take as long as one statement does."""
        async with self._places:
            await asyncio.sleep(self._takes_s)


class Link:
    """One connection of a client, and the one to the server behind it."""

    def __init__(self, port: int, pace: Pace) -> None:
        self._port = port
        self._pace = pace

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # At the end all are cancelled, which asyncio's streams would report as an error of theirs.
        with suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(ports.LOOPBACK, self._port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, back))
                group.create_task(_copy(there, writer))
        except* ConnectionError:
            pass
        finally:
            back.close()
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._pace.keep()
            server.write(chunk)
            await server.drain()
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def main() -> None:
    """Until standard input ends."""
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    pace = Pace()
    link = Link(json.loads(await orders.readline()), pace)
    server = await asyncio.start_server(link.serve, ports.LOOPBACK, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while order := await orders.readline():
        pace.change(**json.loads(order))


if __name__ == "__main__":
    asyncio.run(main())
