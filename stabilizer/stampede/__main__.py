"""``python -m stabilizer.stampede``: the load process.

Status 0 only when everybody was served without a transport error.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import uvloop
from rich.console import Console
from rich.progress import Progress, TextColumn

from stabilizer.stampede import crowd, options, plot, report, target
from stabilizer.stampede.tally import Tally
from stabilizer.stampede.target import Target
from stabilizer.stampede.waits import Way

EXIT_FLAWED = 1
EXIT_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("stampede", description=options.DESCRIPTION)
    options.add(parser)
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        aim = target.find(chosen.url, allow_remote=chosen.allow_remote)
        if not aim.is_loopback:
            console.print(f"warning: {chosen.devices:,} devices go for {aim.host}", style="yellow")
        if chosen.plot:
            plot.require()
        crowd.allow_connections(chosen.devices * chosen.wait.connections)
        run = uvloop.run(_run(chosen, aim, console))
    except (target.NoTarget, plot.NoMatplotlib, crowd.TooMany, crowd.NotPrepared) as refusal:
        console.print(str(refusal), style="red", highlight=False)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_FLAWED
    _tell(chosen, run)
    return 0 if run.tally.is_flawless else EXIT_FLAWED


class Run(NamedTuple):
    """A stampede that is over, without its preparation."""

    tally: Tally
    took_s: float
    cpu_s: float
    way: Way


async def _run(chosen: argparse.Namespace, aim: Target, console: Console) -> Run:
    # Thousands of coroutines live for the whole run: looking through them again finds nothing.
    gc.disable()
    identities = crowd.crowd(chosen.devices)
    words = "{task.description:10} {task.completed:,.0f}/{task.total:,.0f} {task.fields[counts]}"
    with Progress(TextColumn(words), console=console, disable=chosen.json) as progress:
        bars = {
            name: progress.add_task(name, total=chosen.devices, counts="", visible=False)
            for name in ("preparing", "stampede")
        }

        def watch(name: str, tally: Tally) -> None:
            progress.update(
                bars[name],
                completed=tally.done,
                total=tally.devices,
                visible=True,
                counts=f"served {tally.served:,}  429 {tally.refusals_of(429):,}  "
                f"503 {tally.refusals_of(503):,}  errors {tally.transport.total():,}",
            )

        await crowd.prepare(identities, aim, watch)
        if chosen.json:
            console.print(options.PREPARED)
        started, cpu_started = time.monotonic(), time.process_time()
        tally = await crowd.stampede(
            identities,
            aim,
            deadline_s=chosen.deadline,
            rate=chosen.rate,
            watch=watch,
            way=chosen.wait,
        )
        took_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_started
        return Run(tally, took_s, cpu_s, chosen.wait)


def _tell(chosen: argparse.Namespace, run: Run) -> None:
    if chosen.json:
        sys.stdout.write(json.dumps(report.document(*run), indent=2) + "\n")
    else:
        report.show(Console(), run.tally, run.took_s, run.way)
    if chosen.plot:
        plot.draw(run.tally, chosen.plot)


if __name__ == "__main__":
    sys.exit(main())
