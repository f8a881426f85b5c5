"""HAProxy on loopback, before servers that get so many requests at once and no more."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from dev import children, ports
from dev.servers import SBIN, Server, ServerMissing

#: Longer than any device waits for an answer: the queue refuses nobody.
QUEUE_S = 300
#: The kernel caps it at somaxconn.
BACKLOG = 65535
# A connection that waits in the queue and is closed by its device costs the servers nothing
# (abortonclose). The connections to the servers are kept and shared by everybody (http-reuse).
CONFIGURATION = """\
defaults
    mode http
    balance leastconn
    option abortonclose
    http-reuse always
    retries 3
    timeout connect 5s
    timeout queue {queue_s}s
    timeout server {queue_s}s
    timeout client {queue_s}s
    timeout http-request 30s
    timeout http-keep-alive 75s

frontend devices
    bind {host}:{port} backlog {backlog}
    default_backend web

backend web
{servers}
"""


def start(directory: Path, port: int, servers: Sequence[int], *, maxconn: int) -> Server:
    """Listen on `port` and deal requests out to the ports `servers`, `maxconn` at once to each.

    The rest waits in HAProxy's queue. Its limit of connections is what the limit of open files
    allows, which HAProxy finds out for itself. Raises `ServerMissing`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "haproxy.cfg"
    file.write_text(configuration(port, servers, maxconn=maxconn), encoding="ascii")
    # In the foreground, so that it ends with whoever started it.
    command = [_program(), "-db", "-f", str(file)]
    child = children.start("haproxy", command, directory / "haproxy.log")
    return Server(f"http://{ports.LOOPBACK}:{port}", child)


def configuration(port: int, servers: Sequence[int], *, maxconn: int) -> str:
    lines = (
        f"    server web{number} {ports.LOOPBACK}:{server} maxconn {maxconn}"
        for number, server in enumerate(servers, 1)
    )
    return CONFIGURATION.format(
        host=ports.LOOPBACK,
        port=port,
        servers="\n".join(lines),
        queue_s=QUEUE_S,
        backlog=BACKLOG,
    )


def _program() -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN])
    if found := shutil.which("haproxy", path=path):
        return found
    raise ServerMissing("haproxy", "On Debian: apt install haproxy")
