"""The listening sockets of the web processes, and who holds a port that is not free."""

import errno
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"
#: What a web process writes once it takes connections. On a port that processes share, any of them
#: answers for all: whoever must know that each one is up looks for this in the log of each.
TAKES_CONNECTIONS = "this process takes connections"


class PortTaken(OSError):
    """Another process listens on the port. `holder` says which one, as far as this user may see."""

    def __init__(self, host: str, port: int) -> None:
        self.port = port
        self.holder = holder(port)
        super().__init__(
            errno.EADDRINUSE, f"{host}:{port} is taken by {self.holder or 'another process'}"
        )


def listen(host: str, port: int, backlog: int, count: int = 1) -> list[socket.socket]:
    """`count` sockets listening on one port, for child processes to inherit. Raises `PortTaken`.

    The kernel deals connections out to them evenly. On one socket for all processes it wakes all of
    them, and whichever runs first takes the most: of 600 devices that came at once, one of two
    processes served three quarters, and the other was idle. Each process is given all sockets, so
    that none waits on one that ended (`acceptor.Acceptor`).
    """
    # Alone at first: with SO_REUSEPORT it would bind beside another instance in silence.
    _bind(host, port, alone=True).close()
    listeners = [_bind(host, port, alone=False)]
    taken: int = listeners[0].getsockname()[1]
    listeners += [_bind(host, taken, alone=False) for _ in range(count - 1)]
    for listener in listeners:
        listener.listen(backlog)
        listener.set_inheritable(True)
    return listeners


def share(listeners: Sequence[socket.socket], number: int) -> list[str]:
    """The words by which `stabilizer.server` is told which sockets process `number` has."""
    words = ["--fd", str(listeners[number].fileno())]
    for listener in listeners:
        if listener is not listeners[number]:
            words += ["--spare", str(listener.fileno())]
    return words


def _bind(host: str, port: int, *, alone: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if not alone:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from None
        raise
    return listener


def inherited(fd: int) -> socket.socket:
    """The listening socket that the parent process passed as file descriptor `fd`."""
    return socket.socket(fileno=fd)


def holder(port: int) -> str:
    """The process listening on `port`, as "pid 4711 (command line)"; "" if it is not to be seen."""
    inodes = set(_listening_inodes(port))
    for process in PROC.glob("[0-9]*"):
        if inodes & set(_socket_inodes(process)):
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            return f"pid {process.name} ({command.strip()})"
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _socket_inodes(process: Path) -> Iterator[str]:
    # Processes end while one looks, and others' descriptors are private.
    try:
        for link in (process / "fd").iterdir():
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())):
                yield match[1]
    except OSError:
        return
