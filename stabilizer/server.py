"""Starts uvicorn for a role: ``python -m stabilizer.server web [--fd N | --host H --port P]``.

One process serves one event loop. Processes of one host share a listening socket: whoever
supervises them binds it and passes its descriptor (``--fd``); ``--workers`` does the same itself.
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

logger = logging.getLogger("stabilizer.server")

GRACE_S = 10
#: After the grace, for what cannot be interrupted: a thread inside a hung driver.
LAST_RESORT_S = 3
EXIT_PORT_TAKEN = 70
EXIT_CONFIGURATION = 78
#: Requests leave few cycles behind; the first collection of Django's own objects costs 50 ms.
GC_THRESHOLDS = (20_000, 20, 50)


class Server(uvicorn.Server):
    """Uvicorn on a socket that processes share; it ends after SIGTERM in any case, with 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        # To uvicorn an acceptor is a server like any other: it closes them when it ends.
        self.servers = [Acceptor(shared, self._protocol) for shared in sockets or ()]  # type: ignore[misc]

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
        shared = _listener(options)
    except listener.PortTaken as taken:
        sys.stderr.write(f"{taken.strerror}. Stop it, or choose another port with --port.\n")
        return EXIT_PORT_TAKEN
    with shared:
        if options.workers > 1:
            return supervise(shared, options.workers)
        return serve(shared)


def serve(shared: socket.socket) -> int:
    """Serve on a listening socket until SIGTERM or SIGINT, then finish what runs in `GRACE_S`."""
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
            http="httptools",
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
    server.run(sockets=[shared])
    return 0 if server.started else 1


def supervise(shared: socket.socket, workers: int) -> int:
    """Run `workers` processes on one socket. When one ends by itself, all end, with its status."""
    command = [sys.executable, "-m", "stabilizer.server", "web", "--fd", str(shared.fileno())]
    children = [
        subprocess.Popen(command, pass_fds=[shared.fileno()])  # noqa: S603
        for _ in range(workers)
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


def _listener(options: argparse.Namespace) -> socket.socket:
    if options.fd is not None:
        return listener.inherited(options.fd)
    return listener.listen(options.host, options.port, settings.SERVER_BACKLOG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("stabilizer.server", description=__doc__)
    parser.add_argument("role", choices=["web"])
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--fd", type=int, help="an inherited listening socket")
    place.add_argument("--port", type=int, default=9000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the socket")
    return parser


if __name__ == "__main__":
    sys.exit(main())
