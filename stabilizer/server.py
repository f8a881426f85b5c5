"""Starts uvicorn for a role: ``python -m stabilizer.server web [--fd N | --host H --port P]``.

One process serves one event loop. Processes of one host listen on one port with a socket each:
whoever supervises them binds the sockets and passes to each process its own (``--fd``) and those of
the others (``--spare``); ``--workers`` does the same itself.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import django
import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from stabilizer import listener
from stabilizer.acceptor import Acceptor
from stabilizer.corked import CorkedProtocol

logger = logging.getLogger("stabilizer.server")

GRACE_S = 10
#: After the grace, for what cannot be interrupted: a thread inside a hung driver.
LAST_RESORT_S = 3
EXIT_PORT_TAKEN = 70
EXIT_CONFIGURATION = 78
#: Requests leave few cycles behind; the first collection of Django's own objects costs 50 ms.
GC_THRESHOLDS = (20_000, 20, 50)


class Server(uvicorn.Server):
    """Uvicorn on a port that processes share; it ends after SIGTERM in any case, with 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        # To uvicorn an acceptor is a server like any other: it closes them when it ends.
        assert sockets, "uvicorn is always run on sockets that were bound before"
        own, *spares = sockets
        self.servers = [Acceptor(own, spares, self._protocol)]  # type: ignore[list-item]
        # Not logged: it must be found whatever LOG_LEVEL is.
        sys.stderr.write(f"{listener.TAKES_CONNECTIONS}\n")

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

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
            timer = threading.Timer(GRACE_S + LAST_RESORT_S, os._exit, (1,))
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
            return supervise(listeners)
        return serve(listeners)


def serve(listeners: Sequence[socket.socket]) -> int:
    """Serve until SIGTERM or SIGINT, then finish what runs in `GRACE_S`.

    The first of `listeners` is this process's own, the rest are spares.
    """
    try:
        call_command("check", verbosity=0)
    except SystemCheckError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    raise_open_files()
    from stabilizer.asgi import application

    server = Server(
        uvicorn.Config(
            application,
            loop="uvloop",
            http=CorkedProtocol,
            ws="none",
            lifespan="on",
            backlog=settings.SERVER_BACKLOG,
            timeout_keep_alive=settings.SERVER_KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=None,
            # The client's address is the gate's to find out.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
        )
    )
    calm_collector()
    server.run(sockets=list(listeners))
    return 0 if server.started else 1


def supervise(listeners: Sequence[socket.socket]) -> int:
    """Run a process for each listener. When one ends by itself, all end, with its status."""
    command = [sys.executable, "-m", "stabilizer.server", "web"]
    children = [
        subprocess.Popen(  # noqa: S603
            [*command, *listener.share(listeners, number)],
            pass_fds=[each.fileno() for each in listeners],
        )
        for number in range(len(listeners))
    ]

    def stop(*_: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    pid, status = os.wait()
    stop()
    statuses = [
        os.waitstatus_to_exitcode(status) if child.pid == pid else child.wait()
        for child in children
    ]
    return next((abs(status) for status in statuses if status), 0)


def raise_open_files() -> None:
    """Each connection is a file; the soft limit is often 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def calm_collector() -> None:
    """Keep the garbage collector away from what lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _listeners(options: argparse.Namespace) -> list[socket.socket]:
    if options.fd is not None:
        return [listener.inherited(fd) for fd in (options.fd, *options.spare)]
    return listener.listen(
        options.host, options.port, settings.SERVER_BACKLOG, max(1, options.workers)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("stabilizer.server", description=__doc__)
    parser.add_argument("role", choices=["web"])
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
