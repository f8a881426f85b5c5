"""Where a connection comes from, as the ASGI scope says it; proxies have been resolved before."""

from typing import Any

from audit import identifier
from audit.context import RequestContext
from ratelimit import network as networks


def address(scope: Any) -> str:
    host, _port = scope.get("client") or ("", 0)
    return str(host)


def network(scope: Any) -> str:
    return networks.network(address(scope))


def header(scope: Any, name: bytes) -> str:
    """The first value of a header; empty if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def context(scope: Any) -> RequestContext:
    """For the trail: all that is done over one connection has one request id."""
    return RequestContext(identifier.new(), "", address(scope), header(scope, b"user-agent")[:256])
