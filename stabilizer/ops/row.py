"""One point of the dashboard's charts: what happened in a second, or in ten."""

from collections.abc import Mapping
from typing import Any

from stabilizer.gate.observer import ANSWERED, FAILED, LEFT, REFUSED, Counts
from stabilizer.ops import totals

CRITICALITIES = ("critical", "normal", "sheddable", "admin")
QUANTILES = (50, 95, 99)
#: Reasons of a refusal that are no limit of the caller, by the family the charts show them under.
FAMILIES = {
    "slots": "slots",
    "forged": "forged",
    "too_large": "body",
    "too_slow": "body",
    "callers": "unavailable",
    "breaker": "unavailable",
    "pressure": "pressure",
    "shedding": "pressure",
}
SHOWN_FAMILIES = ("limits", "slots", "forged", "body", "unavailable", "pressure")
#: What is not counted but measured: the last value of the second, or None where it is not known.
GAUGES = (
    "slots_held",
    "slots_wanted",
    "slots_most",
    "waiting",
    "sockets",
    "audit_waiting",
    "outbox",
    "dead_letters",
    "missing_bytes",
    "queue_default",
    "queue_audit",
    "lock_waits",
    "lock_current",
    "database",
    "redis",
    "pressure",
)
RATES = (
    *("offered", ANSWERED, FAILED, REFUSED, LEFT),
    *(f"refused_{family}" for family in SHOWN_FAMILIES),
)
#: The policy under which the trail records what the gateway refuses.
REALTIME = "realtime"
#: Why it refuses a connection: a cap of whoever calls, or no room left.
TURNED_AWAY = {
    "too_many_connections": "sockets_over_cap",
    "too_many_strangers": "sockets_over_cap",
    "at_capacity": "sockets_over_capacity",
}
#: What came later stands last, so that rows that were kept before keep their columns.
LATER = (
    *("background_runs", "background_yields"),
    "queue_held",
    *("sockets_over_cap", "sockets_over_capacity", "push_p50", "push_p95"),
    *("slots_adaptive", "bound_slots", "bound_percent", "audit_lag"),
    "let_in_percent",
)
#: Of `LATER`, what is a rate.
LATER_RATES = ("background_runs", "background_yields", *dict.fromkeys(TURNED_AWAY.values()))
#: Rates are per second, times in ms; `at` is the time in seconds since the epoch.
COLUMNS = (
    "at",
    *RATES,
    *(f"p{part}_{name}" for name in CRITICALITIES for part in QUANTILES),
    "wait_p95",
    *GAUGES,
    *LATER,
)
Value = float | None


def row(at: float, counts: Counts, seconds: float, gauges: Mapping[str, Value]) -> list[Value]:
    """The values of `COLUMNS` for what was counted in so many `seconds` until `at`."""
    rates, histograms = _sorted(counts)
    cells: dict[str, Value] = {name: number / seconds for name, number in rates.items()}
    for criticality in CRITICALITIES:
        for part in QUANTILES:
            latency = totals.quantile(histograms[criticality], part / 100)
            cells[f"p{part}_{criticality}"] = _ms(latency)
    cells["wait_p95"] = _ms(totals.quantile(histograms["wait"], 0.95))
    for part in (50, 95):
        cells[f"push_p{part}"] = _ms(totals.quantile(histograms["push"], part / 100))
    cells |= {"at": at, **gauges}
    return [_short(cells.get(column)) for column in COLUMNS]


def _sorted(counts: Counts) -> tuple[dict[str, int], dict[str, dict[int, int]]]:
    """The sums behind the rates, by column, and the histograms, in one look at each count."""
    sums = dict.fromkeys((*RATES, *LATER_RATES), 0)
    histograms: dict[str, dict[int, int]] = {name: {} for name in (*CRITICALITIES, "wait", "push")}
    for key, number in counts.items():
        match key:
            case ("requests", _, str(outcome)):
                sums[outcome] += number
            case ("refusals", _, str(reason)):
                sums[f"refused_{FAMILIES.get(reason, 'limits')}"] += number
            case ("duration", str(criticality), int(bucket)):
                histograms[criticality][bucket] = number
            case (("wait" | "push") as kind, int(bucket)):
                histograms[kind][bucket] = number
            case ("turned_away", str(reason)):
                sums[TURNED_AWAY.get(reason, "sockets_over_cap")] += number
            case (("background_runs" | "background_yields") as rate, *_):
                sums[rate] += number
            case ("arrived",):
                sums["offered"] += number
    return sums, histograms


def refusals(counts: Counts) -> dict[tuple[str, str], int]:
    """How often each policy refused for each reason, and the gateway, which has one policy."""
    found = {(str(key[1]), str(key[2])): n for key, n in counts.items() if key[0] == "refusals"}
    gateway = {(REALTIME, str(key[1])): n for key, n in counts.items() if key[0] == "turned_away"}
    return found | gateway


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _short(value: Any) -> Value:
    if value is None:
        return None
    rounded = round(float(value), 1)
    return int(rounded) if rounded.is_integer() else rounded
