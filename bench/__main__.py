"""`make bench`: what this product promises, measured on this machine, now.

Everything runs on one host, load included, so absolute figures say little about another machine.
The ratios do: both sides of each were measured in turn.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from redis import RedisError
from rich.console import Console

from bench import (
    admission,
    background,
    cache,
    fairness,
    gone,
    goodput,
    herd,
    importing,
    mix,
    pressure,
    product_mix,
    realtime,
    refusals,
    report,
    serving,
    slowed,
    store,
    trail,
)
from bench.doors import NotStarted
from bench.place import MeasureFailed, Place
from bench.row import Row
from dev import environment, servers
from dev.environment import ROOT, Choice
from dev.servers import ServerFailed, ServerMissing
from dev.test import temporary_directory
from stabilizer.stampede import crowd

RESULTS = ROOT / ".run" / "bench.json"
WIDTH = 132
#: Of one process at a time: 10 times the capacity, and nobody answered before the deadline.
CONNECTIONS = 8_000
COMPARISONS: Mapping[str, tuple[str, Callable[[Place], Iterator[Row]]]] = {
    "admission": ("Limits on a request that is admitted, without HTTP", admission.rows),
    "refusals": ("Refusals per second and core, over HTTP", refusals.rows),
    "store": ("What the gate asks of Redis", store.rows),
    "cache": ("Rows that are read often, by level, MariaDB", cache.rows),
    "serving": ("One process, one query per request, MariaDB", serving.rows),
    "goodput": ("More arrivals than a process can serve", goodput.rows),
    "mix": ("Critical, normal and sheddable calls beyond capacity", mix.rows),
    "product-mix": ("The same of the product's own calls, MariaDB", product_mix.rows),
    "fairness": ("One that comes a hundred times as often as its share", fairness.rows),
    "gone": ("Clients that hang up before their turn", gone.rows),
    "herd": ("Ten thousand who come in one second", herd.rows),
    "slowed": ("A database that becomes ten times slower", slowed.rows),
    "pressure": ("What steps under pressure save, through the gate, MariaDB", pressure.rows),
    "trail": ("The audit trail, MariaDB", trail.rows),
    "realtime": ("Devices that wait on the gateway, MariaDB", realtime.rows),
    "background": ("A backlog of background tasks beside a stampede, MariaDB", background.rows),
    "importing": ("manage.py import_subscribers on MariaDB", importing.rows),
}
FAILURES = (MeasureFailed, NotStarted, ServerFailed, ServerMissing, RedisError, crowd.TooMany)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything could be measured, whether or not it met its goal."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=COMPARISONS, action="append", help="this comparison")
    parser.add_argument("--quick", action="store_true", help="once and shortly: to see it work")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=WIDTH)
    try:
        # Servers, proxies and loads inherit the limit of open files.
        crowd.allow_connections(CONNECTIONS)
        with _place(quick=chosen.quick) as ground:
            return measure(ground, chosen.only or list(COMPARISONS), console)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except FAILURES as failure:
        print(failure, file=sys.stderr)
        return 1


def measure(place: Place, names: Sequence[str], console: Console) -> int:
    """Run these comparisons, one after the other; one that cannot be measured stops no other."""
    results: dict[str, list[Row]] = {}
    failed = False
    for number, name in enumerate(names, 1):
        title, rows = COMPARISONS[name]
        console.print(f"{number} of {len(names)}: {name} ...", style="dim")
        try:
            place.forget()
            results[name] = list(rows(place))
        except FAILURES as failure:
            console.print(f"{name} could not be measured: {failure}", style="red", markup=False)
            failed = True
            continue
        console.print(report.table(title, results[name]))
        report.write(results, RESULTS)
    console.print(report.verdict(results), highlight=False)
    console.print(f"written: {RESULTS.relative_to(ROOT)}", style="dim", highlight=False)
    return int(failed)


@contextmanager
def _place(*, quick: bool) -> Iterator[Place]:
    """A private MariaDB and Redis with the demonstration's data."""
    with (
        temporary_directory() as directory,
        servers.start_mariadb(directory / "mariadb") as mariadb,
        servers.start_redis(directory / "redis") as redis,
    ):
        choice = Choice.of({"RUN_DIR": str(directory / "run")})
        env = environment.environment(choice, mariadb.url, redis.url) | {"LOG_LEVEL": "ERROR"}
        demo = directory / "demo.env"
        command = [sys.executable, "-m", "dev.prepare", str(demo)]
        prepared = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if prepared.returncode:
            raise MeasureFailed(f"dev.prepare: {prepared.stderr}")
        env["API_KEY"] = environment.read(demo)["api_key"]
        yield Place(env, directory / "logs", quick)


if __name__ == "__main__":
    sys.exit(main())
