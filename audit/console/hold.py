"""legal holds: `list`, `place`, `release`; what is held is not dropped"""

from argparse import ArgumentParser
from datetime import date
from typing import Any

from audit import retention
from audit.console.out import Out, allow_json
from audit.models import Hold

ACTOR = "command:audit hold"


def add_arguments(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True)
    some = acts.add_parser("list", help="the holds that are in force")
    place = acts.add_parser("place", help="keep the events of these days")
    place.add_argument("first", type=date.fromisoformat, metavar="FIRST-DAY")
    place.add_argument("last", type=date.fromisoformat, metavar="LAST-DAY")
    place.add_argument("--reason", required=True)
    place.add_argument("--owner", required=True, help="who demands it")
    release = acts.add_parser("release", help="end a hold")
    release.add_argument("id", type=int)
    for each in (some, place, release):
        allow_json(each)


def run(options: dict[str, Any], out: Out) -> int:
    if options["act"] == "place":
        if options["first"] > options["last"]:
            out.line("the first day comes after the last")
            out.object({"error": "days_out_of_order"})
            return 2
        why = {"reason": options["reason"], "owner": options["owner"]}
        _show(retention.place_hold(options["first"], options["last"], actor=ACTOR, **why), out)
    elif options["act"] == "release":
        hold = Hold.objects.filter(pk=options["id"], released_at=None).first()
        if hold is None:
            out.line(f"no hold {options['id']} is in force")
            out.object({"error": "no_such_hold"})
            return 2
        retention.release_hold(hold, actor=ACTOR)
    else:
        for hold in Hold.objects.filter(released_at=None).order_by("first_day"):
            _show(hold, out)
    return 0


def _show(hold: Hold, out: Out) -> None:
    names = ("id", "first_day", "last_day", "reason", "owner", "placed_at")
    out.object({name: getattr(hold, name) for name in names})
    out.line(f"{hold.pk:>6}  {hold}  ({hold.owner})")
