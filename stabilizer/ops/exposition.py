"""The fleet's counters and histograms in Prometheus' text format, from its totals in Redis.

They never fall when a process ends. With an empty Redis they begin anew at nothing, which
Prometheus takes for a restart.
"""

from collections.abc import Iterator

from stabilizer.gate.observer import BOUNDS, Counts
from stabilizer.ops import totals
from stabilizer.ops.row import CRITICALITIES

#: In seconds: 1, 2 and 5 of each power of ten. All are bounds that are counted by.
TOLD_BOUNDS = tuple(round(step * 10.0**power, 8) for power in range(-3, 2) for step in (1, 2, 5))
ARRIVED = "stabilizer_requests_offered_total", "Requests that came to the gate."
REQUESTS = "stabilizer_requests_total", "Requests that are over, by what became of them."
REFUSALS = "stabilizer_refusals_total", "Refusals of the gate; one request may have several."
LOOKUPS = (
    "stabilizer_cache_lookups_total",
    "Rows looked up, by kind, level and whether it had them; a miss goes on to the next level.",
)
TRIALS = (
    "stabilizer_policy_trial_total",
    "Requests that a policy in force admits, by what the changed one in roll-out does.",
)
DURATION = (
    "stabilizer_request_duration_seconds",
    "From the arrival of an admitted request until its answer began.",
)
RUNS = "stabilizer_background_runs_total", "Background tasks that began under a slot."
YIELDS = "stabilizer_background_yields_total", "Background tasks put back for want of a slot."
TURNED_AWAY = "stabilizer_connections_refused_total", "Connections that the gateway refused."
PUSH = (
    "stabilizer_push_delay_seconds",
    "From an approval until its credentials were sent to a device that waited for them.",
)
WAIT = "stabilizer_slot_wait_seconds", "Waiting for a slot, of who was admitted or waited in vain."


def text(counts: Counts) -> str:
    """Every line of the counters and histograms, each family after its help."""
    return "".join(f"{line}\n" for line in _lines(counts))


def _lines(counts: Counts) -> Iterator[str]:
    yield from _head(*ARRIVED, "counter")
    yield f"{ARRIVED[0]} {counts.get(('arrived',), 0)}"
    yield from _counter(counts, "requests", *REQUESTS, labels=("policy", "outcome"))
    yield from _counter(counts, "refusals", *REFUSALS, labels=("policy", "reason"))
    yield from _counter(counts, "turned_away", *TURNED_AWAY, labels=("reason",))
    yield from _counter(counts, "background_runs", *RUNS, labels=("task",))
    yield from _counter(counts, "background_yields", *YIELDS, labels=("task", "reason"))
    yield from _counter(counts, "cache", *LOOKUPS, labels=("kind", "level", "outcome"))
    yield from _counter(counts, "trial", *TRIALS, labels=("trial", "outcome"))
    yield from _head(*DURATION, "histogram")
    for criticality in CRITICALITIES:
        labels = f'criticality="{criticality}"'
        yield from _histogram(DURATION[0], labels, counts, "duration", criticality)
    yield from _head(*WAIT, "histogram")
    yield from _histogram(WAIT[0], "", counts, "wait")
    yield from _head(*PUSH, "histogram")
    yield from _histogram(PUSH[0], "", counts, "push")


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _counter(
    counts: Counts, key: str, name: str, help: str, *, labels: tuple[str, ...]
) -> Iterator[str]:
    yield from _head(name, help, "counter")
    for (kind, *values), total in sorted(counts.items(), key=lambda item: str(item[0])):
        if kind == key:
            told = ",".join(
                f'{label}="{value}"' for label, value in zip(labels, values, strict=True)
            )
            yield f"{name}{{{told}}} {total}"


def _histogram(name: str, labels: str, counts: Counts, kind: str, *of: str) -> Iterator[str]:
    found = totals.buckets(counts, kind, *of)
    before = f"{labels}," if labels else ""
    for bound in TOLD_BOUNDS:
        below = sum(n for bucket, n in found.items() if bucket <= BOUNDS.index(bound))
        yield f'{name}_bucket{{{before}le="{bound:g}"}} {below}'
    count = sum(found.values())
    yield f'{name}_bucket{{{before}le="+Inf"}} {count}'
    braces = f"{{{labels}}}" if labels else ""
    yield f"{name}_sum{braces} {counts.get((f'{kind}_us', *of), 0) / 1e6:.6f}"
    yield f"{name}_count{braces} {count}"
