"""the latest events, oldest first"""

import time
from argparse import ArgumentParser
from typing import Any

from audit.console.out import Out
from audit.models import Event

#: How often new events are looked for.
PAUSE_S = 0.5
#: Events of one look; if there are more, the next look begins at once.
MOST = 1_000


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--lines", type=int, default=20, help="how many (20)")
    parser.add_argument("-f", "--follow", action="store_true", help="and those that come")
    for name in ("action", "subject", "actor", "tenant", "severity"):
        parser.add_argument(f"--{name}", help=f"only those of this {name}")


def run(options: dict[str, Any], out: Out) -> int:
    names = ("action", "subject", "actor", "tenant", "severity")
    events = Event.objects.filter(**{name: options[name] for name in names if options[name]})
    last = None
    for event in reversed(events.order_by("-pk")[: options["lines"]]):
        _show(event, out)
        last = event.pk
    while options["follow"]:
        newer = events.filter(pk__gt=last) if last else events
        for event in newer.order_by("pk")[:MOST]:
            _show(event, out)
            last = event.pk
        time.sleep(PAUSE_S)
    return 0


def _show(event: Event, out: Out) -> None:
    out.object(event.shown())
    place = f"{event.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    who = " ".join(each for each in (event.actor, event.tenant, event.address) if each)
    out.line(f"{place} {event.action:<22} {event.outcome:<10} {event.subject}  {who}".rstrip())
