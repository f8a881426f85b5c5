"""WSGI servers behind HAProxy, one process on a port each: so the crowd waits in one queue only."""

from collections.abc import Callable
from dataclasses import dataclass

from dev import ports

BACKLOG = "2048"
KEEP_ALIVE_S = "75"


@dataclass(frozen=True)
class WsgiServer:
    """How one process is started, and how many requests HAProxy gives it at once."""

    name: str
    maxconn: int
    #: From the application and the port to the words after `python -m`.
    words: Callable[[str, int], list[str]]


def gthread(threads: int, maxconn: int) -> WsgiServer:
    """gunicorn with threads: the connections from HAProxy are kept."""

    def words(application: str, port: int) -> list[str]:
        kept = ["--threads", str(threads), "--keep-alive", KEEP_ALIVE_S]
        return [*_gunicorn(application, port), "--worker-class", "gthread", *kept]

    return WsgiServer(f"gunicorn gthread, {threads} threads", maxconn, words)


def sync(maxconn: int) -> WsgiServer:
    """gunicorn without threads: one request, one connection."""

    def words(application: str, port: int) -> list[str]:
        return [*_gunicorn(application, port), "--worker-class", "sync"]

    return WsgiServer("gunicorn sync", maxconn, words)


def granian(threads: int, maxconn: int) -> WsgiServer:
    """granian's WSGI mode: HTTP in Rust, Python in threads."""

    def words(application: str, port: int) -> list[str]:
        place = ["--host", ports.LOOPBACK, "--port", str(port), "--backlog", BACKLOG]
        mode = ["--interface", "wsgi", "--http", "1", "--no-ws", "--workers", "1"]
        return ["granian", application, *place, *mode, "--blocking-threads", str(threads)]

    return WsgiServer(f"granian WSGI, {threads} threads", maxconn, words)


def _gunicorn(application: str, port: int) -> list[str]:
    place = ["--bind", f"{ports.LOOPBACK}:{port}", "--backlog", BACKLOG]
    # Silent is a worker that computes with all its threads while the machine is full, too.
    return ["gunicorn", application, *place, "--workers", "1", "--timeout", "120"]
