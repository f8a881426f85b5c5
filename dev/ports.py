"""TCP ports of loopback."""

import socket

LOOPBACK = "127.0.0.1"


def free() -> int:
    """A port nobody listens on now. Another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def free_pair() -> int:
    """The first of two neighbours that are free: `make up` takes the next one for its gateway."""
    while True:
        port = free()
        with socket.socket() as neighbour:
            try:
                neighbour.bind((LOOPBACK, port + 1))
            except (OSError, OverflowError):
                continue
            return port
