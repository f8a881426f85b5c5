"""Django's synchronous handler behind ASGI, in a bounded pool of threads.

Django's own ASGI handler starts a thread, and with it a database connection, for every request.
This one runs the synchronous middleware, views and signals in a fixed pool whose connections
persist, and keeps to the event loop what has to wait for clients: bodies, files and asynchronous
streams.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import IO, Any, cast

from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.http import (
    FileResponse,
    HttpResponse,
    HttpResponseBadRequest,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from accounts import answers
from stabilizer.corked import CONNECTION
from stabilizer.gate.breaker import Breaker, watched
from stabilizer.pool import Pool

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("django.request")

#: What a file is read and sent by.
CHUNK = 1 << 16
#: A client that takes nothing of a synchronous stream for this long loses it: it holds a thread.
STALLED_S = 30.0
#: Most requests are answered sooner; only a longer one is worth a task that waits for a disconnect.
WATCH_AFTER_S = 0.05


class ClientGone(Exception):
    """The client disconnected, or took nothing for `STALLED_S`, in the middle of a stream."""


class Client:
    """Whether the client still waits for its answer."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._answered = False
        self._watching: asyncio.Task[None] | None = None
        self._stream: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self.watch)

    def watch(self) -> None:
        """Listen for the disconnect from now on; called in the event loop."""
        if self._watching is None and not self._answered:
            self._watching = asyncio.create_task(self._wait())

    def cancel_when_gone(self, stream: asyncio.Task[None]) -> None:
        self._stream = stream
        self.watch()
        if self.gone:
            stream.cancel()

    def answered(self) -> None:
        self._answered = True
        self._timer.cancel()
        # Its frame knows this client: together they would be left to the garbage collector.
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._stream is not None:
            self._stream.cancel()


@dataclass(slots=True)
class Answer:
    """What a thread made of a request: complete, or (`streamed`) to be fetched while it is sent."""

    start: Message
    body: bytes = b""
    streamed: StreamingHttpResponse | None = None


@dataclass(slots=True)
class Exchange:
    """One request on its way through the pool."""

    scope: Scope
    body: IO[bytes]
    send: Send
    client: Client
    loop: asyncio.AbstractEventLoop
    answer: Answer | None = None

    @property
    def is_in_vain(self) -> bool:
        """Whether the client has left, as far as is known."""
        connection = self.scope.get(CONNECTION)
        return self.client.gone or (connection is not None and connection.has_left())


class Serving:
    """An ASGI application: Django's synchronous handler in `threads` threads of this process."""

    def __init__(self, threads: int | None = None) -> None:
        self._handler = BaseHandler()
        self._handler.load_middleware(is_async=False)
        self._pool = Pool(threads or settings.SERVING_THREADS, on_idle=connections.close_all)

    def close(self) -> bool:
        """End the threads and their database connections; False if a request would not end."""
        return self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"Serving answers HTTP requests, not {scope['type']!r}.")
        body = await read_body(receive)
        if body is None:
            return
        client = Client(receive)
        exchange = Exchange(scope, body, send, client, asyncio.get_running_loop())
        try:
            urgent = getattr(scope.get("stabilizer.admission"), "criticality", "") == "critical"
            await self._pool.submit(lambda: self._respond(exchange), urgent=urgent)
            if exchange.answer is not None and not client.gone:
                await self._send(exchange.answer, exchange)
        finally:
            client.answered()
            # A cancelled `await` of the pool's work is resumed when the work is done.
            if exchange.answer is not None and exchange.answer.streamed is not None:
                await self._pool.submit(exchange.answer.streamed.close)

    async def _send(self, answer: Answer, exchange: Exchange) -> None:
        # No thread works for this request any more: its slot goes to the next one.
        if release := exchange.scope.get("stabilizer.release"):
            release()
        if answer.streamed is None:
            await exchange.send(answer.start)
            await exchange.send({"type": "http.response.body", "body": answer.body})
            return
        stream = asyncio.create_task(
            self._send_stream(answer.start, self._parts(answer.streamed), exchange.send)
        )
        exchange.client.cancel_when_gone(stream)
        try:
            await stream
        except asyncio.CancelledError:
            if not exchange.client.gone:
                raise

    async def _send_stream(self, start: Message, parts: AsyncGenerator[bytes], send: Send) -> None:
        await send(start)
        async with aclosing(parts):
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def _parts(self, response: StreamingHttpResponse) -> AsyncGenerator[bytes]:
        if response.is_async:
            generator = cast(AsyncGenerator[bytes], aiter(response))
            async with aclosing(generator) as parts:
                async for part in parts:
                    yield part
            return
        # A file: each chunk is read by whichever thread is free, so a slow client holds none.
        chunks = iter(response)
        while (chunk := await self._pool.submit(lambda: next(chunks, None))) is not None:
            yield chunk

    # What follows runs in a thread of the pool.

    def _respond(self, exchange: Exchange) -> None:
        if exchange.is_in_vain:
            exchange.body.close()
            return
        set_script_prefix(get_script_prefix(exchange.scope))
        signals.request_started.send(sender=type(self), scope=exchange.scope)
        try:
            response = self._watched(exchange)
        except BaseException:
            exchange.body.close()
            signals.request_finished.send(sender=type(self))
            raise
        response._handler_class = type(self)  # type: ignore[attr-defined]
        exchange.answer = self._answer(response, exchange)

    def _watched(self, exchange: Exchange) -> HttpResponseBase:
        """The response, of whose making the database's breaker is told; its 503 while it is open.

        A request that was let in before the breaker opened would only hold this thread.
        """
        breaker: Breaker | None = exchange.scope.get("stabilizer.breaker")
        response = watched(breaker, lambda: self._response(exchange), answers.is_well)
        if response is None:
            exchange.body.close()
            return answers.unavailable_page(breaker.retry_after_s if breaker else 0)
        return response

    def _response(self, exchange: Exchange) -> HttpResponseBase:
        try:
            request = self._request(exchange.scope, exchange.body)
        except UnicodeDecodeError:
            logger.warning("Bad Request (UnicodeDecodeError)", exc_info=True)
            exchange.body.close()
            return HttpResponseBadRequest()
        response = self._handler.get_response(request)
        if response.status_code >= 500 and repeatable(exchange) and replace_broken_connections():
            # The connection had died unnoticed. What only reads is read again on a new one.
            for closer in response._resource_closers:  # type: ignore[attr-defined]
                closer()
            response = self._handler.get_response(self._request(exchange.scope, BytesIO()))
        return response

    def _request(self, scope: Scope, body: IO[bytes]) -> ASGIRequest:
        request = ASGIRequest(scope, body)
        announce_length(request.META, body)
        pressure = getattr(scope.get("stabilizer.admission"), "pressure", 0)
        request.pressure = pressure  # type: ignore[attr-defined]
        return request

    def _answer(self, response: HttpResponseBase, exchange: Exchange) -> Answer | None:
        start = response_start(response)
        if exchange.scope["method"] == "HEAD":
            response.close()
            return Answer(start)
        if not isinstance(response, StreamingHttpResponse):
            answer = Answer(start, cast(HttpResponse, response).content)
            response.close()
            return answer
        if response.is_async:
            return Answer(start, streamed=response)
        if isinstance(response, FileResponse) and response.file_to_stream is not None:
            return self._file(start, response)
        self._stream(start, response, exchange)
        return None

    def _file(self, start: Message, response: FileResponse) -> Answer:
        response.block_size = CHUNK
        if int(response.headers.get("Content-Length") or CHUNK + 1) > CHUNK:
            return Answer(start, streamed=response)
        answer = Answer(start, b"".join(cast(Iterator[bytes], response)))
        response.close()
        return answer

    def _stream(self, start: Message, response: StreamingHttpResponse, exchange: Exchange) -> None:
        """Send a synchronous iterator from the thread it belongs to: it may use the database."""
        exchange.loop.call_soon_threadsafe(exchange.client.watch)
        try:
            self._push(exchange, start)
            for part in cast(Iterator[bytes], response):
                self._push(
                    exchange, {"type": "http.response.body", "body": part, "more_body": True}
                )
            self._push(exchange, {"type": "http.response.body"})
        except ClientGone:
            pass
        finally:
            response.close()

    def _push(self, exchange: Exchange, message: Message) -> None:
        if exchange.client.gone:
            raise ClientGone

        async def send() -> None:
            await asyncio.wait_for(exchange.send(message), STALLED_S)

        try:
            asyncio.run_coroutine_threadsafe(send(), exchange.loop).result()
        except TimeoutError:
            raise ClientGone from None


async def read_body(receive: Receive) -> IO[bytes] | None:
    """The whole body, on disk when it is large; None if the client went before it was complete."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return BytesIO(message.get("body", b""))
    spool = tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115
    try:
        while message["type"] == "http.request":
            spool.write(message.get("body", b""))
            if not message.get("more_body", False):
                spool.seek(0)
                return cast(IO[bytes], spool)
            message = await receive()
    except BaseException:
        spool.close()
        raise
    spool.close()
    return None


def announce_length(meta: MutableMapping[str, Any], body: IO[bytes]) -> None:
    """A chunked body says no length; Django REST framework takes such a one for empty."""
    if "CONTENT_LENGTH" in meta:
        return
    if length := body.seek(0, SEEK_END):
        meta["CONTENT_LENGTH"] = str(length)
    body.seek(0)


def repeatable(exchange: Exchange) -> bool:
    if exchange.scope["method"] not in ("GET", "HEAD", "OPTIONS") or exchange.body.closed:
        return False
    exchange.body.seek(0)
    return not exchange.body.read(1)


def replace_broken_connections() -> bool:
    """Close those of this thread's connections that an error has shown to be dead; True if any."""
    broken = [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None
        and connection.errors_occurred
        and not connection.is_usable()
    ]
    for connection in broken:
        connection.close()
    return bool(broken)


def response_start(response: HttpResponseBase) -> Message:
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    headers += [
        (b"Set-Cookie", cookie.output(header="").strip().encode("ascii"))
        for cookie in response.cookies.values()
    ]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
