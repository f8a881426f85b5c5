"""How each contestant comes up: its servers, its data, its processes, and an answer from it."""

import contextlib
import http.client
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from bench.stampede import haproxy
from bench.stampede.contestant import Running, Start
from bench.stampede.wsgi import WsgiServer
from dev import commands, environment, ports, servers
from dev.environment import Choice
from dev.supervisor import Supervisor
from dev.up import BACKLOG, WEB_PROCESSES, Doors, Up
from stabilizer.listener import listen

#: Both applications answer a GET there with 405, without a query.
PROBE = "/api/v1/pairings/"


def unprotected(supervisor: Supervisor, directory: Path) -> Running:
    """The predecessor's API on Django's ASGI handler, a connection to MariaDB per request."""
    env, api_key = _predecessor(supervisor, directory, CONN_MAX_AGE="0")
    listeners = listen(ports.LOOPBACK, 0, BACKLOG, WEB_PROCESSES)
    port = listeners[0].getsockname()[1]
    server = ["uvicorn", "bench.unprotected.asgi:application", "--lifespan", "off"]
    server += ["--loop", "uvloop", "--http", "httptools", "--backlog", str(BACKLOG)]
    server += ["--timeout-keep-alive", "75", "--no-access-log", "--log-level", "warning"]
    for number, listener in enumerate(listeners, 1):
        with listener:
            fd = listener.fileno()
            supervisor.start(f"web-{number}", [*server, "--fd", str(fd)], env, [fd])
    supervisor.wait_for(lambda: _answers(port), "the web processes")
    return Running(f"http://{ports.LOOPBACK}:{port}", api_key, supervisor)


def proxied_predecessor(wsgi: WsgiServer) -> Start:
    """The predecessor's API behind HAProxy, on connections that persist."""

    def start(supervisor: Supervisor, directory: Path) -> Running:
        env, api_key = _predecessor(supervisor, directory, CONN_MAX_AGE="none")
        port = ports.free()
        _behind_haproxy(supervisor, directory, port, wsgi, "bench.unprotected.wsgi", env)
        return Running(f"http://{ports.LOOPBACK}:{port}", api_key, supervisor)

    return start


def proxied_ours(wsgi: WsgiServer) -> Start:
    """Our application behind HAProxy instead of its gate, with everything else it has."""

    def start(supervisor: Supervisor, directory: Path) -> Running:
        mariadb = supervisor.add(servers.start_mariadb(directory / "mariadb"))
        redis = supervisor.add(servers.start_redis(directory / "redis"))
        choice = _choice(directory, "mariadb")
        env = environment.environment(choice, mariadb.url, redis.url)
        report = directory / "demo.env"
        supervisor.run("prepare", ["dev.prepare", str(report)], env)
        schedule = str(directory / "beat-schedule")
        supervisor.start("worker", [*commands.WORKER, "-B", "-s", schedule], env)
        supervisor.start("shipper", commands.SHIPPER, env)
        _behind_haproxy(supervisor, directory, choice.port, wsgi, "stabilizer.wsgi", env)
        return Running(choice.base_url, environment.read(report)["api_key"], supervisor)

    return start


def ours(supervisor: Supervisor, directory: Path) -> Running:
    """What `make up DB=mariadb` starts. The only one that also runs with DB=sqlite."""
    choice = _choice(directory, os.environ.get("DB") or "mariadb")
    with contextlib.closing(Doors.open(choice)) as doors:
        demo = Up(choice, doors, supervisor, Console(quiet=True)).start()
    return Running(choice.base_url, demo["api_key"], supervisor)


def _choice(directory: Path, database: str) -> Choice:
    web, gateway = ports.free(), ports.free()
    return Choice.of(
        {
            "PORT": str(web),
            "REALTIME_PORT": str(gateway),
            "DB": database,
            "RUN_DIR": str(directory),
        }
    )


def _predecessor(
    supervisor: Supervisor, directory: Path, **settings: str
) -> tuple[dict[str, str], str]:
    """The environment of the unprotected service on a MariaDB with its data, and its API key."""
    mariadb = supervisor.add(servers.start_mariadb(directory / "mariadb"))
    api_key = secrets.token_urlsafe(32)
    own = {"DATABASE_URL": mariadb.url, "SECRET_KEY": secrets.token_urlsafe(48), **settings}
    named = {"DJANGO_SETTINGS_MODULE": "bench.unprotected.settings", "PYTHONUNBUFFERED": "1"}
    env = {**os.environ, **named, **own}
    supervisor.run("prepare", ["bench.unprotected.prepare"], {**env, "API_KEY": api_key})
    return env, api_key


def _behind_haproxy(
    supervisor: Supervisor,
    directory: Path,
    port: int,
    wsgi: WsgiServer,
    module: str,
    env: Mapping[str, str],
) -> None:
    """The application of `module` in as many processes as ours has, behind HAProxy on `port`."""
    web = [ports.free() for _ in range(WEB_PROCESSES)]
    for number, each in enumerate(web, 1):
        supervisor.start(f"web-{number}", wsgi.words(f"{module}:application", each), env)
    supervisor.wait_for(lambda: all(map(_answers, web)), "the web processes")
    supervisor.add(haproxy.start(directory / "haproxy", port, web, maxconn=wsgi.maxconn))
    supervisor.wait_for(lambda: _answers(port), "HAProxy")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=2)
    with contextlib.closing(connection):
        try:
            connection.request("GET", PROBE)
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
