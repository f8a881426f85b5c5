"""What Prometheus scrapes: the fleet's slots and what answers, for this host alone."""

import asyncio
import json
import subprocess

import pytest
from asgiref.testing import ApplicationCommunicator

from ratelimit import flags, pressures
from ratelimit.breakers import Board, Word
from ratelimit.connections import Caps, Connections
from ratelimit.flags import Forced
from ratelimit.leases import SlotLease
from ratelimit.store import Store
from stabilizer.background.fleet import BACKGROUND
from stabilizer.gate.breaker import READS
from stabilizer.health import Readiness
from stabilizer.metrics import Gauge, Metrics, render
from stabilizer.ops import history, totals
from stabilizer.ops.row import COLUMNS

pytestmark = pytest.mark.usefixtures("redis_client")


async def passed_on(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"passed on"})


async def fine() -> None:
    pass


async def refused() -> None:
    raise ConnectionRefusedError


async def scrape(store: Store, *, peer="127.0.0.1", path="/metrics", headers=()):
    readiness = Readiness({"database": fine, "redis": refused}, needed=frozenset())
    scope = {"type": "http", "path": path, "headers": list(headers), "client": (peer, 1)}
    asked = ApplicationCommunicator(Metrics(passed_on, readiness, store), scope)
    await asked.send_input({"type": "http.request"})
    start, body = [await asked.receive_output(5) for _ in range(2)]
    return start["status"], body["body"].decode()


@pytest.fixture
def store(settings):
    store = Store(settings.REDIS_URL)
    yield store
    store.close()


async def test_what_was_measured_for_the_dashboard_is_told_but_for_what_is_not_known(store):
    cells = dict.fromkeys(COLUMNS) | {
        "audit_lag": 2.5,
        "bound_slots": 8,
        "bound_percent": 25,
        "let_in_percent": 2,
        "queue_default": 3,
    }
    await history.keep(store, json.dumps({"row": list(cells.values())}), "[]", None)
    _, text = await scrape(store)
    assert "stabilizer_audit_lag_seconds 2.5\n" in text
    assert "stabilizer_slots_excess_bound 8\n" in text
    assert "stabilizer_limit_excess_bound_ratio 0.25\n" in text
    assert "stabilizer_newcomers_let_in_ratio 0.02\n" in text
    assert 'stabilizer_queue_messages{queue="default"} 3\n' in text
    assert "stabilizer_audit_dead_letters" not in text
    assert await asyncio.to_thread(complaints, text) == (0, "")


async def test_a_process_of_an_older_version_has_measured_less(store):
    row: list[int | None] = [None] * COLUMNS.index("queue_held")
    row[COLUMNS.index("audit_waiting")] = 7
    await history.keep(store, json.dumps({"row": row}), "[]", None)
    _, text = await scrape(store)
    assert "stabilizer_audit_waiting_events 7\n" in text
    assert "stabilizer_audit_lag_seconds" not in text


async def test_slots_are_told_by_process(store):
    leases = [SlotLease(store, 500, lambda: (3, 8, 0), cold_share=3) for _ in range(2)]
    for lease in leases:
        await lease.refresh()
    status, text = await scrape(store)
    assert status == 200
    assert "stabilizer_processes 2\n" in text
    assert "stabilizer_slots_limit 500\n" in text
    for lease in leases:
        assert f'stabilizer_slots_held{{process="{lease.process}"}} 3\n' in text
        assert f'stabilizer_slots_wanted{{process="{lease.process}"}} 8\n' in text


async def test_pressure_flags_and_breakers_are_told(store, monkeypatch):
    monkeypatch.setattr(flags, "_forced", {"only_critical": Forced(True, float("inf"))})
    await pressures.tell(store, "a", 1)
    await Board(store, [READS]).exchange([Word("open", 0, 4)])
    _, text = await scrape(store)
    assert "stabilizer_pressure_level 1\n" in text
    assert 'stabilizer_flag_taken{flag="lists_trimmed"} 1\n' in text
    assert 'stabilizer_flag_taken{flag="lists_stale"} 0\n' in text
    assert 'stabilizer_flag_taken{flag="only_critical"} 1\n' in text
    assert 'stabilizer_flag_forced{flag="lists_trimmed"} 0\n' in text
    assert 'stabilizer_flag_forced{flag="only_critical"} 1\n' in text
    assert 'stabilizer_breaker_open{breaker="database:read"} 1\n' in text
    assert 'stabilizer_breaker_open{breaker="database:write"} 0\n' in text
    assert await asyncio.to_thread(complaints, text) == (0, "")


def complaints(text: str) -> tuple[int, str]:
    """What promtool says to it."""
    command = ["promtool", "check", "metrics"]
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return found.returncode, found.stdout + found.stderr


async def test_the_slots_of_background_work_are_told_apart(store):
    process = f"{BACKGROUND}host:1:a"
    lease = SlotLease(store, 500, lambda: (1, 1, 0), idle=0, cold_share=1, process=process)
    await lease.refresh()
    _, text = await scrape(store)
    assert "stabilizer_background_slots_limit 10\n" in text
    assert "stabilizer_background_slots_held 1\n" in text
    assert f'stabilizer_slots_held{{process="{process}"}} 1\n' in text


async def test_waiting_connections_are_told_by_process(store):
    connections = Connections(store, Caps())
    connections.start()
    for number in range(3):
        await connections.open_for(f"device {number}")
    await connections.stop()
    _, text = await scrape(store)
    assert "stabilizer_connections_limit 10000\n" in text
    assert f'stabilizer_connections{{process="{connections.process}"}} 3\n' in text


async def test_dependencies_are_up_or_not(store):
    _, text = await scrape(store)
    assert 'stabilizer_up{dependency="database"} 1\n' in text
    assert 'stabilizer_up{dependency="redis"} 0\n' in text


async def test_without_redis_the_rest_is_told():
    away = Store("redis://127.0.0.1:1/0")
    status, text = await scrape(away)
    away.close()
    assert status == 200
    assert "stabilizer_up" in text
    assert "stabilizer_slots" not in text


@pytest.mark.parametrize(
    "asked",
    [
        {"peer": "192.0.2.1"},
        {"peer": "127.0.0.1", "headers": [(b"x-forwarded-for", b"127.0.0.1")]},
        {"path": "/metrics/"},
    ],
)
async def test_others_are_passed_on(store, asked):
    assert await scrape(store, **asked) == (418, "passed on")


async def test_who_has_the_token_may_read_from_anywhere(store, settings):
    settings.METRICS_TOKEN = "a-token"
    far = {"peer": "192.0.2.1", "headers": [(b"authorization", b"Bearer a-token")]}
    status, text = await scrape(store, **far)
    assert status == 200
    assert "stabilizer_up" in text
    wrong = {**far, "headers": [(b"authorization", b"Bearer another")]}
    assert (await scrape(store, **wrong))[0] == 418


async def test_without_a_token_set_no_token_is_right(store, settings):
    settings.METRICS_TOKEN = ""
    empty = {"peer": "192.0.2.1", "headers": [(b"authorization", b"Bearer ")]}
    assert (await scrape(store, **empty))[0] == 418


async def test_counters_are_those_of_all_processes(store):
    for process in ("a", "b"):
        await totals.report(store, process, 1, {}, {("requests", "me", "answered"): 2})
    _, text = await scrape(store)
    assert 'stabilizer_requests_total{policy="me",outcome="answered"} 4\n' in text


def test_a_gauge_is_written_as_prometheus_reads_it():
    gauge = Gauge("tv_on", "Screens that are on.", "room", {"a": 1, "b": 0.5})
    assert render([gauge]) == (
        "# HELP tv_on Screens that are on.\n"
        "# TYPE tv_on gauge\n"
        'tv_on{room="a"} 1\n'
        'tv_on{room="b"} 0.5\n'
    )
