"""`make bench`: the figures this repository states, measured on this machine, now.

Everything runs on one host, load included, so absolute figures say little about another machine;
the ratios between rows do.
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev import environment, servers
from dev.environment import ROOT, Choice
from dev.test import temporary_directory


def main() -> None:
    """Start a private MariaDB and Redis with the demonstration's data, and measure against them."""
    console = Console(width=110)
    with (
        temporary_directory() as directory,
        servers.start_mariadb(directory / "mariadb") as mariadb,
        servers.start_redis(directory / "redis") as redis,
    ):
        choice = Choice.of({"RUN_DIR": str(directory / "run")})
        env = environment.environment(choice, mariadb.url, redis.url)
        env["LOG_LEVEL"] = "ERROR"
        api_key = _prepare(env, directory)
        os.environ.update(env)
        console.print(_serving(env, api_key, directory))
        console.print(_admission())
        console.print(_importing(directory))


def _prepare(env: dict[str, str], directory: Path) -> str:
    report = directory / "demo.env"
    command = [sys.executable, "-m", "dev.prepare", str(report)]
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    return environment.read(report)["api_key"]


def _serving(env: dict[str, str], api_key: str, directory: Path) -> Table:
    from bench import serving

    clients, _ = serving.STEADY
    table = Table(title="One process, one query per request, MariaDB", title_justify="left")
    table.add_column("door")
    columns = (f"{clients} clients: req/s", "p95 s", f"{serving.CROWD} at once: served %", "p95 s")
    for column in columns:
        table.add_column(column, justify="right")
    for row in serving.rows(env, api_key, directory):
        table.add_row(
            row.door,
            f"{row.steady.per_second:,.0f}",
            f"{row.steady.p95_s:.3f}",
            f"{row.crowd.served_percent:.1f}",
            f"{row.crowd.p95_s:.3f}",
        )
    return table


def _admission() -> Table:
    from bench import admission

    table = Table(title="The gate, without HTTP and Django", title_justify="left")
    table.add_column("a request that is")
    table.add_column("CPU us", justify="right")
    table.add_column("answers")
    for cost in admission.costs():
        answers = ", ".join(f"{count:,} x {status}" for status, count in cost.statuses.items())
        table.add_row(cost.what, f"{cost.cpu_us:.0f}", answers)
    return table


def _importing(directory: Path) -> Table:
    from bench import importing

    title = f"manage.py import_subscribers, {importing.ROWS:,} rows on MariaDB, goal 60 s"
    table = Table(title=title, title_justify="left")
    for column in ("the file is", "s", "created", "changed"):
        table.add_column(column, justify="right")
    for run in importing.runs(directory / "subscribers.csv"):
        table.add_row(run.what, f"{run.took_s:.1f}", f"{run.created:,}", f"{run.changed:,}")
    return table


if __name__ == "__main__":
    main()
