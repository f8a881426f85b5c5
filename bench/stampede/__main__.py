"""`make stampede`: all devices at once, against this service and against its rivals.

Each contestant runs alone, on servers and data of its own, and the load process is the same for
all. Everything is on one host, load included: the ratios say more than the figures.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.stampede import picture, promises, report
from bench.stampede.contest import compete, forget_the_tests
from bench.stampede.contestant import Contestant
from bench.stampede.contestants import CONTESTANTS
from bench.stampede.load import LoadFailed
from bench.stampede.promises import OURS, Verdict
from bench.stampede.result import Result
from dev.environment import ROOT
from dev.servers import ServerFailed, ServerMissing
from dev.supervisor import ChildDied, NotReady
from dev.test import temporary_directory
from stabilizer.stampede import crowd, options, plot

PICTURE = ROOT / ".run" / "stampede.png"
WIDTH = 120
FAILURES = (
    ServerMissing,
    ServerFailed,
    ChildDied,
    NotReady,
    LoadFailed,
    crowd.TooMany,
    plot.NoMatplotlib,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when this service served everybody without a transport error, or did not take part."""
    chosen = _chosen(arguments)
    console = Console(width=WIDTH)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    forget_the_tests()
    try:
        plot.require()
        crowd.allow_connections(chosen.devices)
        with temporary_directory() as directory:
            results = [
                _compete(contestant, chosen.devices, directory, console)
                for contestant in CONTESTANTS
                if contestant.name in chosen.only
            ]
    except FAILURES as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1
    verdicts = promises.verdicts({result.name: result for result in results})
    report.show(console, results, verdicts)
    _write(results, verdicts, chosen, console)
    return 0 if all(result.is_flawless for result in results if result.name == OURS) else 1


def _chosen(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [contestant.name for contestant in CONTESTANTS]
    parser = argparse.ArgumentParser("python -m bench.stampede", description=__doc__)
    parser.add_argument(
        "--devices",
        type=options.devices,
        default=os.environ.get("DEVICES") or "1000",
        metavar="N",
        help="default: DEVICES of the environment, or 1000",
    )
    parser.add_argument("--only", action="append", choices=names, help="may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", default=PICTURE)
    chosen = parser.parse_args(arguments)
    chosen.only = chosen.only or names
    if os.environ.get("DB") not in (None, "", "mariadb") and chosen.only != [OURS]:
        parser.error(f"only `{OURS}` runs without MariaDB: --only {OURS}")
    return chosen


def _compete(contestant: Contestant, devices: int, directory: Path, console: Console) -> Result:
    console.print(f"{contestant.title}: starting", highlight=False)
    result = compete(contestant, devices, directory)
    served, took_s = result.load["served_percent"], result.took_s
    console.print(f"{contestant.title}: {served:.1f} % in {took_s:.1f} s", highlight=False)
    return result


def _write(
    results: Sequence[Result],
    verdicts: Sequence[Verdict],
    chosen: argparse.Namespace,
    console: Console,
) -> None:
    chosen.plot.parent.mkdir(parents=True, exist_ok=True)
    picture.draw(results, chosen.plot)
    console.print(f"\nThe picture is {chosen.plot}", highlight=False)
    if chosen.json:
        document = {
            "contestants": [result.document() for result in results],
            "promises": [verdict.document() for verdict in verdicts],
        }
        chosen.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
