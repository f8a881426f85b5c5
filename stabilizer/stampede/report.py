"""What a stampede came to: a table for people, a document for programs."""

from dataclasses import asdict
from itertools import chain
from typing import Any

from rich.console import Console
from rich.table import Table

from stabilizer.stampede.tally import Spread, Step, Tally
from stabilizer.stampede.waits import Way

#: Nobody listens where devices poll: without any, these say nothing.
LISTENERS = (Step.WAITING, Step.PUSHED)


def document(tally: Tally, took_s: float, cpu_s: float, way: Way = Way.POLL) -> dict[str, Any]:
    """Everything that was counted. Times are in seconds; `cpu_s` are the load process's own."""
    return {
        "way": way.value,
        "devices": tally.devices,
        "served": tally.served,
        "served_percent": round(tally.served_percent, 2),
        "seed_success_percent": round(tally.seed_success_percent, 2),
        "took_s": round(took_s, 2),
        "load_cpu_s": round(cpu_s, 2),
        "wait": _rounded(Spread.of(tally.waits)),
        "steps": {
            step.value: {
                **_rounded(Spread.of(tally.answers[step])),
                "429": tally.refusals[step][429],
                "503": tally.refusals[step][503],
            }
            for step in _steps(tally)
        },
        "answers": _rounded(Spread.of(tally.all_answers)),
        "answered_percent": round(tally.answered_percent, 2),
        "mean_try": round(tally.mean_try, 4),
        "peak_per_second": round(tally.peak_per_second, 1),
        "429": tally.refusals_of(429),
        "503": tally.refusals_of(503),
        "put_off": dict(tally.put_off),
        "transport_errors": dict(tally.transport),
        "failures": dict(tally.failures),
        "served_at": [round(seconds, 3) for seconds in tally.served_at],
    }


def show(console: Console, tally: Tally, took_s: float, way: Way = Way.POLL) -> None:
    table = Table(title=f"{tally.devices:,} devices in {took_s:.1f} s, waiting by {way}")
    table.add_column("")
    for name in ("answers", "mean", "p50", "p95", "max", "429", "503"):
        table.add_column(name, justify="right")
    for step in _steps(tally):
        refusals = tally.refusals[step]
        table.add_row(step, *_cells(Spread.of(tally.answers[step])), *_counts(refusals))
    table.add_section()
    totals = {status: tally.refusals_of(status) for status in (429, 503)}
    table.add_row("until served", *_cells(Spread.of(tally.waits)), *_counts(totals))
    console.print(table)
    style = "bold green" if tally.is_flawless else "bold red"
    console.print(
        f"served {tally.served_percent:.2f} %   seed_success {tally.seed_success_percent:.2f} %   "
        f"transport errors {tally.transport.total()}",
        style=style,
        highlight=False,
    )
    reasons = (tally.put_off.most_common(), tally.transport.most_common())
    for reason, times in [*chain(*reasons), *tally.failures.most_common(10)]:
        console.print(f"{times:>7} {reason}", highlight=False)


def _steps(tally: Tally) -> list[Step]:
    return [
        step
        for step in Step
        if step not in LISTENERS or tally.answers[step] or tally.refusals[step]
    ]


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(spread).items()}


def _cells(spread: Spread) -> list[str]:
    times = (spread.mean, spread.p50, spread.p95, spread.max)
    return [f"{spread.count:,}", *(f"{seconds:.3f}" for seconds in times)]


def _counts(refusals: Any) -> list[str]:
    return [f"{refusals[status]:,}" for status in (429, 503)]
