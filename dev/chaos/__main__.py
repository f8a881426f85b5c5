"""`python -m dev.chaos`: kill -9 over web, worker, shipper and Redis, round by round, under load.

Ends with 0 when every answered action is in the trail exactly once, 1 when one is not, 2 when it
could not be tried.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress

from dev import ports
from dev.chaos import faults, load
from dev.chaos.faults import SlotsKept
from dev.chaos.load import Witness
from dev.chaos.stack import NotReady, Stack
from dev.environment import ROOT
from dev.servers import ServerFailed, ServerMissing
from dev.test import temporary_directory
from stabilizer.stampede.target import Target

ROUND_S = 1.0
#: Segments that a flushed broker has lost are sent again after a minute.
DRAIN_S = 150


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the faults")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True, quiet=chosen.json)
    try:
        with temporary_directory() as directory, Stack(directory) as stack:
            report = asyncio.run(_torment(stack, chosen.rounds, chosen.seed, console))
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (NotReady, ServerFailed, ServerMissing) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(report) if chosen.json else _table(report))
    return 0 if is_right(report) else 1


def is_right(report: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled, broken or left behind."""
    wrong = ("lost", "doubled", "still_waiting", "dead_letters", "gaps", "faults", "slots_kept")
    return not any(report[name] for name in wrong)


async def _torment(stack: Stack, rounds: int, seed: int, console: Console) -> dict[str, Any]:
    witness, stopped = Witness(), asyncio.Event()
    target = Target(ports.LOOPBACK, stack.port, secure=False, api_key=stack.api_key)
    began = time.monotonic()
    loading = asyncio.create_task(load.run(target, witness, stopped))
    try:
        done, kept = await asyncio.to_thread(_rounds, stack, rounds, seed, console)
    finally:
        stopped.set()
        await loading
    took_s = round(time.monotonic() - began, 1)
    console.print(f"{rounds} rounds in {took_s} s; waiting until everything has come")
    found = await asyncio.to_thread(examine, stack, witness.done)
    others = {str(status): count for status, count in sorted(witness.others.items())}
    return {"rounds": done, "took_s": took_s, "slots_kept": kept, **found, "not_done": others}


def _rounds(
    stack: Stack, count: int, seed: int, console: Console
) -> tuple[dict[str, int], list[str]]:
    chance = random.Random(seed)  # noqa: S311
    done: Counter[str] = Counter()
    kept: list[str] = []
    with Progress(console=console, transient=True) as progress:
        for fault in progress.track(list(faults.rounds(count, seed)), description="chaos"):
            began = time.monotonic()
            try:
                fault(stack, chance)
            except SlotsKept as error:
                kept.append(str(error))
            if ended := stack.ended():
                raise NotReady(f"{ended[0].name} ended by itself:\n{ended[0].last_lines()}")
            done[fault.__name__] += 1
            time.sleep(max(0.0, ROUND_S * chance.uniform(0.5, 1.5) - (time.monotonic() - began)))
    return dict(done), kept


def examine(stack: Stack, done: Mapping[str, str], limit_s: float = DRAIN_S) -> dict[str, Any]:
    """How the trail stands to what was answered: `dev.chaos.check`; raises `NotReady`."""
    run = subprocess.run(
        [sys.executable, "-m", "dev.chaos.check"],
        cwd=ROOT,
        env=stack.env,
        input=json.dumps({"done": done, "limit_s": limit_s}),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise NotReady(f"dev.chaos.check failed:\n{run.stderr}")
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def _table(report: dict[str, Any]) -> str:
    return "\n".join(f"{name.replace('_', ' '):<16}{value}" for name, value in report.items())


if __name__ == "__main__":
    sys.exit(main())
