"""The contestants: each on servers of its own, with nothing of another one's data."""

from bench.stampede import haproxy, starts, wsgi
from bench.stampede.contestant import Contestant
from bench.stampede.wsgi import WsgiServer
from dev.up import WEB_PROCESSES

#: The strongest of those that `trials` compares.
PREDECESSORS = wsgi.granian(4, 16)
OURS = wsgi.granian(8, 16)


def _behind_haproxy(server: WsgiServer) -> str:
    return (
        f"{server.name} in each of {WEB_PROCESSES} processes behind HAProxy, with maxconn "
        f"{server.maxconn} for each, {haproxy.QUEUE_S} s in its queue, kept connections on "
        "both sides; CONN_MAX_AGE=None"
    )


#: In the order in which they run.
CONTESTANTS = (
    Contestant(
        "unprotected",
        "unprotected",
        "the predecessor's API: audit rows written in the request, rows locked before they are "
        "checked; Django's ASGI handler on uvicorn (uvloop, httptools) in "
        f"{WEB_PROCESSES} processes on one port; CONN_MAX_AGE=0. Its devices give up after 120 s: "
        "whoever is not served by then has been answered with an error long before.",
        starts.unprotected,
        deadline_s=120,
    ),
    Contestant(
        "haproxy-wsgi",
        "HAProxy + WSGI",
        f"the same API; {_behind_haproxy(PREDECESSORS)}.",
        starts.proxied_predecessor(PREDECESSORS),
    ),
    Contestant(
        "haproxy-ours",
        "HAProxy + our app",
        f"our application without its gate, with its worker and Redis; {_behind_haproxy(OURS)}.",
        starts.proxied_ours(OURS),
    ),
    Contestant(
        "ours",
        "ours",
        f"what `make up DB=mariadb` starts: {WEB_PROCESSES} web processes and a worker.",
        starts.ours,
    ),
)
