"""Starts uvicorn for a role: ``python -m stabilizer.server web [--fd N | --host H --port P]``.

One process serves one event loop. Processes of one host listen on one port with a socket each:
whoever supervises them binds the sockets and passes to each process its own (``--fd``) and those of
the others (``--spare``); ``--workers`` does the same itself.
"""

import argparse
import asyncio
import contextlib
import gc
import importlib
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import django
import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from stabilizer import affinity, listener
from stabilizer.acceptor import Acceptor
from stabilizer.corked import CorkedProtocol
from stabilizer.wire import ImpatientProtocol, WaitingProtocol

logger = logging.getLogger("stabilizer.server")

GRACE_S = 10
#: After the grace, for what cannot be interrupted: a thread inside a hung driver.
LAST_RESORT_S = 3
#: Waiting devices are told in slices over this time that they have to come back.
DRAIN_S = 10
#: A frame that is longer ends the connection; one above the protocol's 4 KB is answered.
WS_BYTES = 64 * 1024
EXIT_PORT_TAKEN = 70
EXIT_CONFIGURATION = 78
#: How long a thread that computes keeps the interpreter from the event loop, which needs it for
#: each of a request's steps. With Python's 5 ms what is critical is slow; less than 0.3 ms costs
#: throughput, and 0.3 itself 3 % of the answers beyond the capacity (decision 23).
SWITCH_S = 0.0003
#: Requests leave few cycles behind; the first collection of Django's own objects costs 50 ms.
GC_THRESHOLDS = (20_000, 20, 50)
#: A full collection among 10,000 waiting sockets stops the process for half a second.
GC_OF_WAITING = (10_000, 5, 100_000)


async def nothing() -> None:
    """What a process does before it ends, if there is nobody it has to say goodbye to."""


@dataclass(frozen=True)
class Role:
    """What a process serves, and how it ends."""

    application: str
    http: type[asyncio.Protocol]
    ws: Any
    gc_thresholds: tuple[int, int, int]
    #: How long a thread that computes keeps the interpreter from the event loop.
    switch_s: float
    #: Connections taken in one turn of the event loop.
    at_a_time: int
    rest_s: float = 0
    #: Its threads take turns at computing: they are best on one CPU, where the settings allow it.
    takes_turns: bool = False
    #: None: as the settings say.
    keep_alive_s: int | None = None
    #: For `drain`, which ends what would never end by itself.
    drain_s: float = 0


ROLES = {
    "web": Role(
        "stabilizer.asgi", CorkedProtocol, "none", GC_THRESHOLDS, SWITCH_S, 32, takes_turns=True
    ),
    "realtime": Role(
        "stabilizer.gateway",
        ImpatientProtocol,
        WaitingProtocol,
        GC_OF_WAITING,
        switch_s=0.0005,
        at_a_time=4,
        rest_s=0.010,
        keep_alive_s=5,
        drain_s=DRAIN_S,
    ),
}


class Server(uvicorn.Server):
    """Uvicorn on a port that processes share; it ends after SIGTERM in any case, with 0.

    Before it does, it takes no more connections, and `drain` ends those that would not end.
    """

    def __init__(
        self, role: Role, config: uvicorn.Config, drain: Callable[[], Awaitable[None]] = nothing
    ) -> None:
        super().__init__(config)
        self._role = role
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        # To uvicorn an acceptor is a server like any other: it closes them when it ends.
        assert sockets, "uvicorn is always run on sockets that were bound before"
        own, *spares = sockets
        acceptor = Acceptor(own, spares, self._protocol, self._role.at_a_time, self._role.rest_s)
        self.servers = [acceptor]  # type: ignore[list-item]
        # Not logged: it must be found whatever LOG_LEVEL is.
        sys.stderr.write(f"{listener.TAKES_CONNECTIONS}\n")

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        try:
            await asyncio.wait_for(self._drain(), self._role.drain_s + LAST_RESORT_S)
        except Exception:
            logger.exception("not everybody was told that this process ends")
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        signals = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            longest_s = self._role.drain_s + GRACE_S + LAST_RESORT_S
            timer = threading.Timer(longest_s, os._exit, (1,))
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Until uvicorn listens for it: who is told to stop while it starts has not failed.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
    django.setup(set_prefix=False)
    try:
        listeners = _listeners(options)
    except listener.PortTaken as taken:
        sys.stderr.write(f"{taken.strerror}. Stop it, or choose another port with --port.\n")
        return EXIT_PORT_TAKEN
    with contextlib.ExitStack() as stack:
        for each in listeners:
            stack.enter_context(each)
        if options.workers > 1:
            return supervise(options.role, listeners)
        return serve(ROLES[options.role], listeners)


def serve(role: Role, listeners: Sequence[socket.socket]) -> int:
    """Serve until SIGTERM or SIGINT, then finish what runs in `GRACE_S`.

    The first of `listeners` is this process's own, the rest are spares.
    """
    try:
        call_command("check", verbosity=0)
    except SystemCheckError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    raise_open_files()
    module = importlib.import_module(role.application)
    server = Server(
        role,
        uvicorn.Config(
            module.application,
            loop="uvloop",
            http=role.http,
            ws=role.ws,
            ws_max_size=WS_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="on",
            backlog=settings.SERVER_BACKLOG,
            timeout_keep_alive=role.keep_alive_s or settings.SERVER_KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=None,
            # The client's address is the gate's to find out.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
        ),
        getattr(module, "drain", nothing),
    )
    calm_collector(role.gc_thresholds)
    sys.setswitchinterval(role.switch_s)
    if settings.SERVER_PINNED and role.takes_turns:
        stay_on_a_cpu(listeners)
    server.run(sockets=list(listeners))
    return 0 if server.started else 1


def supervise(role: str, listeners: Sequence[socket.socket]) -> int:
    """Run a process for each listener. When one ends by itself, all end, with its status.

    Whoever is told to end before it has begun to serve dies of that, as it should: that is a 0.
    """
    command = [sys.executable, "-m", "stabilizer.server", role]
    children: list[subprocess.Popen[bytes]] = []
    told = False

    def stop(*_: object) -> None:
        nonlocal told
        told = True
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    children.extend(
        subprocess.Popen(  # noqa: S603
            [*command, *listener.share(listeners, number)],
            pass_fds=[each.fileno() for each in listeners],
        )
        for number in range(len(listeners))
    )
    if told:
        # One that was started meanwhile has not heard it.
        stop()
    pid, status = os.wait()
    by_itself = None if told else pid
    stop()
    statuses = {
        child.pid: os.waitstatus_to_exitcode(status) if child.pid == pid else child.wait()
        for child in children
    }
    bad = (
        abs(code)
        for child, code in statuses.items()
        if code and (code != -signal.SIGTERM or child == by_itself)
    )
    return next(bad, 0)


def raise_open_files() -> None:
    """Each connection is a file; the soft limit is often 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stay_on_a_cpu(listeners: Sequence[socket.socket]) -> None:
    """Each process has all sockets, its own first: their order says which process this one is."""
    fds = [each.fileno() for each in listeners]
    cpu = affinity.stay(sorted(fds).index(fds[0]), len(fds))
    logger.info("this process runs on %s", "any CPU" if cpu is None else f"CPU {cpu}")


def calm_collector(thresholds: tuple[int, int, int]) -> None:
    """Keep the garbage collector away from what lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)


def _listeners(options: argparse.Namespace) -> list[socket.socket]:
    if options.fd is not None:
        return [listener.inherited(fd) for fd in (options.fd, *options.spare)]
    return listener.listen(
        options.host, options.port, settings.SERVER_BACKLOG, max(1, options.workers)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("stabilizer.server", description=__doc__)
    parser.add_argument("role", choices=[*ROLES], help="web: the API; realtime: who waits")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--fd", type=int, help="an inherited listening socket")
    place.add_argument("--port", type=int, default=9000)
    parser.add_argument(
        "--spare", type=int, action="append", default=[], help="a socket of another process"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the port")
    return parser


if __name__ == "__main__":
    sys.exit(main())
