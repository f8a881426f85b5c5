"""The listening socket that web processes share, and who holds a port that is not free."""

import errno
import re
import socket
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"


class PortTaken(OSError):
    """Another process listens on the port. `holder` says which one, as far as this user may see."""

    def __init__(self, host: str, port: int) -> None:
        self.port = port
        self.holder = holder(port)
        super().__init__(
            errno.EADDRINUSE, f"{host}:{port} is taken by {self.holder or 'another process'}"
        )


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket that child processes inherit. Raises `PortTaken`.

    It is bound once and shared: with SO_REUSEPORT a second instance would bind beside the first in
    silence, and the connections waiting on a process that ends would be reset.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from None
        raise
    listener.set_inheritable(True)
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
