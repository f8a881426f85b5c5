"""The words of the command, for `manage.py stampede` and `python -m stabilizer.stampede` alike."""

import argparse
from pathlib import Path
from typing import Any

from stabilizer.stampede.device import MOST_DEVICES
from stabilizer.stampede.waits import Way

DESCRIPTION = "Let many devices arrive at once and see whether all of them are served."
#: Stands alone on standard error, beside a JSON document, when the stampede begins.
PREPARED = "prepared"
NAMES = (
    "devices",
    "at_once",
    "rate",
    "deadline",
    "wait",
    "url",
    "allow_remote",
    "json",
    "plot",
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=devices, default=1_000, metavar="N")
    arrival = parser.add_mutually_exclusive_group()
    arrival.add_argument("--at-once", action="store_true", help="all in one moment (the default)")
    arrival.add_argument("--rate", type=_positive, metavar="R", help="arrivals per second")
    parser.add_argument(
        "--deadline",
        type=_positive,
        default=300.0,
        metavar="S",
        help="seconds from its arrival in which a device must be served (300)",
    )
    parser.add_argument(
        "--wait",
        type=Way,
        choices=[*Way],
        default=Way.POLL,
        help="how a device hears of its approval: on the gateway's WebSocket, by its server-sent "
        "events, or by asking (the default)",
    )
    parser.add_argument("--url", metavar="U", help="default: what `make up` has started here")
    parser.add_argument(
        "--allow-remote", action="store_true", help="let the target be another machine"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help=f"print a JSON document, no table; `{PREPARED}` on standard error says that those "
        "who come back are paired and everybody arrives",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw a picture of the run")


def words(options: dict[str, Any]) -> list[str]:
    """The words that give these options again."""
    given = {name: options[name] for name in NAMES if options.get(name) not in (None, False)}
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in given.items()
    ]


def devices(text: str) -> int:
    """As many as the demonstration has smartcards, at most."""
    number = int(text)
    if not 1 <= number <= MOST_DEVICES:
        raise argparse.ArgumentTypeError(f"from 1 to {MOST_DEVICES}: one smartcard for each")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("more than 0")
    return number
