"""Whoever stands between too many requests and the same view: four threads, one process each.

Each is set up as well as it can be: its queue is tuned to the clients' patience where it has one,
its rate to what can be served where it must be told, and its priorities to the sorts of calls
where it knows any.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bench import doors, proxies
from bench.doors import Door
from bench.place import Place

#: An answer that comes later is worth nothing to its client.
DEADLINE_S = 1.0
#: The longest wait in a queue, ours and a proxy's.
QUEUE_MS = 500
#: Started in a place, and told how many requests a second can be served.
Start = Callable[[Place, float], AbstractContextManager[Door]]


@dataclass(frozen=True)
class Contestant:
    """How it is started, and below which path its view lies."""

    start: Start
    prefix: str = ""


def ours(place: Place, per_s: float = 0) -> AbstractContextManager[Door]:
    return doors.uvicorn("gated", place, QUEUE_WAIT_MS=str(QUEUE_MS))


def unprotected(place: Place, per_s: float) -> AbstractContextManager[Door]:
    return doors.uvicorn("stock", place)


def throttled(place: Place, per_s: float) -> AbstractContextManager[Door]:
    """A limit of a Django package for all calls together; nothing waits."""
    return doors.granian("wsgi", "wsgi", place, BENCH_RATE=f"{per_s:.0f}")


def behind(proxy: Callable[[Door, Place, float], AbstractContextManager[Door]]) -> Start:
    """A WSGI server with `proxy` in front of it."""

    @contextmanager
    def start(place: Place, per_s: float) -> Iterator[Door]:
        with doors.granian("wsgi", "wsgi", place) as wsgi, proxy(wsgi, place, per_s) as door:
            yield door

    return start


HAPROXY = behind(lambda wsgi, place, _: proxies.haproxy(wsgi, place, queue_ms=QUEUE_MS))
ENVOY = behind(lambda wsgi, place, _: proxies.envoy(wsgi, place))
ENVOY_LIMITED = behind(lambda wsgi, place, per_s: proxies.envoy(wsgi, place, per_s=per_s))
NGINX = behind(
    lambda wsgi, place, per_s: proxies.nginx(wsgi, place, per_s=per_s, queue_ms=QUEUE_MS)
)
OURS = "gate and pool"
CONTESTANTS: Mapping[str, Contestant] = {
    OURS: Contestant(ours),
    "HAProxy maxconn, WSGI": Contestant(HAPROXY),
    "Envoy adaptive concurrency, WSGI": Contestant(ENVOY),
    "Envoy local rate limit, WSGI": Contestant(ENVOY_LIMITED),
    "nginx limit_req and limit_conn, WSGI": Contestant(NGINX),
    "django-smart-ratelimit, WSGI": Contestant(throttled, "/smart"),
    "REST framework's throttle, WSGI": Contestant(throttled, "/drf"),
    "Django's ASGI handler alone": Contestant(unprotected),
}
