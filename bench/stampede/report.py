"""The table of all contestants, how each was set up, and what was promised."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from bench.stampede.promises import Verdict
from bench.stampede.result import Result

COLUMNS = (
    "served %",
    "in time %",
    "mean",
    "p50",
    "p95",
    "max",
    "mean try",
    "wait",
    "took",
    "429",
    "503",
    "errors",
    "CPU ms",
    "locks ms",
    "MB",
)
VERDICTS = {True: "[green]met[/]", False: "[red]not met[/]", None: "none had any"}
LEGEND = """\
Each on a fresh MariaDB of its own (durable commits, 600 connections), the load on the same host. \
in time: tries answered before the device gave up on them after 10 s, of all but the refused. \
mean to max: seconds per answer, over all steps, an error of the server being one too; mean try: \
the same over all tries, in which a time-out counts with the 10 s it took; it is the mean that is \
promised. wait: the mean until a device was served, of those that were. took: until the last \
device was done. errors: tries without an answer. CPU: of everything on the server side, database \
and proxy too, per served device. locks: what all transactions together waited for rows. MB: the \
largest web process."""


def show(console: Console, results: Sequence[Result], verdicts: Iterable[Verdict]) -> None:
    console.print(_contest(results))
    console.print(LEGEND, highlight=False)
    for result in results:
        console.print(f"\n[bold]{result.title}[/]: {result.settings}", highlight=False)
        console.print(
            f"{result.usage.lock_waits:>7,} waits for rows; the load itself took "
            f"{result.load['load_cpu_s']:.1f} s of CPU",
            highlight=False,
        )
        for reason, times in result.load["failures"].items():
            console.print(f"{times:>7} not served: {reason}", highlight=False)
    promised = _promises(verdicts)
    if promised.row_count:
        console.print()
        console.print(promised)


def _contest(results: Sequence[Result]) -> Table:
    devices = results[0].load["devices"]
    title = f"{devices:,} devices in one moment; times in seconds"
    table = Table(title=title, title_justify="left", padding=(0, 0))
    table.add_column("")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(result.title, *_cells(result))
    return table


def _cells(result: Result) -> list[str]:
    load = result.load
    answers = load["answers"]
    return [
        f"{load['served_percent']:.1f}",
        f"{load['answered_percent']:.1f}",
        *(f"{answers[name]:.2f}" for name in ("mean", "p50", "p95", "max")),
        f"{result.mean_try_s:.2f}",
        f"{load['wait']['mean']:.2f}",
        f"{result.took_s:.1f}",
        f"{load['429']:,}",
        f"{load['503']:,}",
        f"{result.transport_errors:,}",
        f"{result.cpu_ms_per_served:.1f}",
        f"{result.usage.lock_wait_ms:,}",
        f"{result.peak_bytes / 1e6:.0f}",
    ]


def _promises(verdicts: Iterable[Verdict]) -> Table:
    table = Table(title="Ours beside the others", title_justify="left")
    for column in ("promised", "of", "ours", "theirs", "ratio", "goal", ""):
        table.add_column(column, justify="left" if column in ("promised", "of") else "right")
    for verdict in verdicts:
        promise = verdict.promise
        table.add_row(
            promise.what,
            promise.rival,
            f"{verdict.own:,.2f}",
            f"{verdict.theirs:,.2f}",
            "-" if verdict.ratio is None else f"{verdict.ratio:.2f}",
            f"at most {promise.goal:.3g}",
            VERDICTS[verdict.met],
        )
    return table
