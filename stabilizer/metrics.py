"""`GET /metrics` for Prometheus, answered before the gate to this host, and to who has the token.

What is fleet-wide is read from Redis while it is scraped: any process gives the same answer, and no
counter is lost with a process. Names and units follow Prometheus' conventions.
"""

import hmac
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.conf import settings

from ratelimit import connections, flags, pressures
from ratelimit import store as stores
from ratelimit.breakers import Board, Record, Word
from ratelimit.leases import Demand, fleet
from ratelimit.store import Store, StoreAway
from stabilizer.background.fleet import background_slots
from stabilizer.gate.breaker import READS, WRITES
from stabilizer.health import Asgi, Readiness
from stabilizer.ops import exposition, history, shelf, totals
from stabilizer.ops.row import COLUMNS
from stabilizer.serving import Receive, Scope, Send

PATH = "/metrics"
BREAKERS = (READS, WRITES)
#: Of the dashboard's newest row, by the metric's name.
MEASURED = {
    "stabilizer_slots_adaptive": ("slots_adaptive", "Slots that adaptive limits leave."),
    "stabilizer_slots_excess_bound": ("bound_slots", "Requests that may be beyond all slots now."),
    "stabilizer_audit_lag_seconds": ("audit_lag", "Age of the oldest record not in the trail yet."),
    "stabilizer_audit_waiting_events": ("audit_waiting", "Records in the spools of this host."),
    "stabilizer_audit_outbox_rows": ("outbox", "Records that are committed with their changes."),
    "stabilizer_audit_dead_letters": ("dead_letters", "Records that could not be stored."),
    "stabilizer_audit_missing_bytes": ("missing_bytes", "Bytes of spools that never came."),
}
QUEUES = ("default", "audit", "held")
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


class Gauge(NamedTuple):
    """A metric: its values by their label, `""` where there is none."""

    name: str
    help: str
    label: str
    values: dict[str, float]


class Metrics:
    """ASGI middleware that answers /metrics to its own host, or to a bearer of METRICS_TOKEN.

    Everything else is passed on. A proxy on this host speaks for others, so a request that came
    through one needs the token as well.
    """

    def __init__(self, app: Asgi, readiness: Readiness, store: Store | None = None) -> None:
        self.app = app
        self._readiness = readiness
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"] == PATH
        if not asked or not (_from_here(scope) or _has_token(scope)):
            await self.app(scope, receive, send)
            return
        body = (await self._body()).encode()
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _body(self) -> str:
        gauges, store = await self._gauges(), self._store or shelf.shared()
        try:
            newest, counted = await history.now(store), await totals.read(store)
        except StoreAway:
            return render(gauges)
        return render(gauges + measured(newest)) + exposition.text(counted)

    async def _gauges(self) -> list[Gauge]:
        report = await self._readiness.report()
        up = {name: float(check["ok"]) for name, check in report["checks"].items()}
        gauges = [Gauge("stabilizer_up", "1 while the dependency answers.", "dependency", up)]
        try:
            store = self._store or stores.shared()
            demands, held = await fleet(store), await connections.fleet(store)
            level = max((await pressures.levels(store)).values(), default=0)
            records = await Board(store, BREAKERS).exchange([Word("look") for _ in BREAKERS])
        except StoreAway:
            return gauges
        return gauges + slots(demands) + waiting(held) + pressed(level) + opened(records)


def slots(demands: dict[str, Demand]) -> list[Gauge]:
    """The slots of the fleet, by the processes that lease them."""
    held = {process: float(demand.has) for process, demand in demands.items()}
    wanted = {process: float(demand.wants) for process, demand in demands.items()}
    cap, alive = {"": float(settings.GATE_SLOTS)}, {"": float(len(demands))}
    most, background = (
        {"": float(settings.BACKGROUND_SLOTS)},
        {"": float(background_slots(demands))},
    )
    return [
        Gauge("stabilizer_slots_limit", "Requests past the gate at once, fleet-wide.", "", cap),
        Gauge("stabilizer_slots_held", "Slots leased to a process.", "process", held),
        Gauge("stabilizer_slots_wanted", "Slots a process could use now.", "process", wanted),
        Gauge("stabilizer_processes", "Processes that hold a lease.", "", alive),
        Gauge("stabilizer_background_slots_limit", "Slots for background work.", "", most),
        Gauge("stabilizer_background_slots_held", "Slots it holds.", "", background),
    ]


def waiting(held: dict[str, int]) -> list[Gauge]:
    """The devices that wait at the gateway, by the process that holds their connection."""
    cap = {"": float(settings.CONNECTIONS)}
    counts = {process: float(count) for process, count in held.items()}
    return [
        Gauge("stabilizer_connections_limit", "Waiting connections, fleet-wide.", "", cap),
        Gauge("stabilizer_connections", "Waiting connections of a process.", "process", counts),
    ]


def pressed(level: int) -> list[Gauge]:
    """How hard pressed the fleet is, and which of its steps are taken, or forced by somebody."""
    forced = flags.forced()
    taken = {step.name: float(flags.taken(step, level)) for step in flags.STEPS}
    decided = {step.name: float(step.name in forced) for step in flags.STEPS}
    return [
        Gauge("stabilizer_pressure_level", "Highest of any process.", "", {"": float(level)}),
        Gauge("stabilizer_flag_taken", "1 while the step is taken.", "flag", taken),
        Gauge("stabilizer_flag_forced", "1 while somebody has forced it.", "flag", decided),
    ]


def opened(records: Sequence[Record | None]) -> list[Gauge]:
    """The breakers of the fleet, by what they guard."""
    pairs = zip(BREAKERS, records, strict=True)
    states = {name: float(record is not None) for name, record in pairs}
    return [Gauge("stabilizer_breaker_open", "1 unless it is closed.", "breaker", states)]


def measured(document: str | None) -> list[Gauge]:
    """What the process that collects for the dashboard has measured, but for what is not known."""
    if document is None:
        return []
    # A process of an older version has fewer columns: those that came later stand last.
    cells = zip(COLUMNS, json.loads(document)["row"], strict=False)
    row = {column: value for column, value in cells if value is not None}
    queued = {name: row[f"queue_{name}"] for name in QUEUES if f"queue_{name}" in row}
    gauges = [
        Gauge(name, help, "", {"": row[column]})
        for name, (column, help) in MEASURED.items()
        if column in row
    ]
    excess, let_in = (_ratio(row.get(column)) for column in ("bound_percent", "let_in_percent"))
    return [
        *gauges,
        Gauge("stabilizer_queue_messages", "Celery's messages; held: by workers.", "queue", queued),
        Gauge("stabilizer_limit_excess_bound_ratio", "Of one limit, beyond it now.", "", excess),
        Gauge(
            "stabilizer_newcomers_let_in_ratio",
            "Of newcomers, the least of any process.",
            "",
            let_in,
        ),
    ]


def _ratio(percent: float | None) -> dict[str, float]:
    return {} if percent is None else {"": percent / 100}


def render(gauges: Iterable[Gauge]) -> str:
    """The gauges in Prometheus' text format 0.0.4."""
    lines: list[str] = []
    for gauge in gauges:
        lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge"]
        for label, value in gauge.values.items():
            labels = f'{{{gauge.label}="{label}"}}' if gauge.label else ""
            lines.append(f"{gauge.name}{labels} {value:g}")
    return "\n".join(lines) + "\n"


def _has_token(scope: Scope) -> bool:
    token = settings.METRICS_TOKEN
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return bool(token) and hmac.compare_digest(given, b"Bearer " + token.encode())


def _from_here(scope: Scope) -> bool:
    peer = (scope.get("client") or ("", 0))[0]
    forwarded = any(name == b"x-forwarded-for" for name, _ in scope["headers"])
    return peer in LOOPBACK and not forwarded
