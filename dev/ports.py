"""TCP ports of loopback."""

import socket

LOOPBACK = "127.0.0.1"


def free() -> int:
    """A port nobody listens on now. Another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
