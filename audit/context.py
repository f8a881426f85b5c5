"""Whose request is being served: read by every record, set once per request."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse

from audit import identifier


class RequestContext(NamedTuple):
    """What a record says of the request it belongs to; empty texts outside of one."""

    request_id: str = ""
    decision_id: str = ""
    address: str = ""
    user_agent: str = ""


_OUTSIDE = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("audit_request", default=_OUTSIDE)

current = _current.get


@contextmanager
def bound(context: RequestContext) -> Iterator[None]:
    """Records made inside the block carry `context`."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def a_run() -> AbstractContextManager[None]:
    """Records made inside the block, which no request has caused, are found by one request id."""
    return bound(RequestContext(identifier.new()))


class RequestContextMiddleware:
    """Gives the records of a request its ids, the client's address and its user agent.

    The ids are the gate's when it stands before Django, which leaves its verdict in the ASGI scope
    or the WSGI environ. REMOTE_ADDR is believed as it is: the gate has resolved the proxies.
    """

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with bound(_of(request)):
            return self.get_response(request)


def _of(request: HttpRequest) -> RequestContext:
    admission = getattr(request, "scope", request.META).get("stabilizer.admission")
    return RequestContext(
        request_id=getattr(admission, "request_id", "") or identifier.new(),
        decision_id=getattr(admission, "decision_id", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        user_agent=request.META.get("HTTP_USER_AGENT", ""),
    )
