"""a changed policy on its way: in shadow, for a percentage of tenants, for all; or back"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from audit.console.out import Out, allow_json
from ratelimit import draft, rollouts
from ratelimit.draft import BadDraft
from ratelimit.models import Rollout
from ratelimit.rollouts import Refused
from stabilizer.console import fail

ACTOR = "command:policy rollout"
SHOWN = 5


def add_arguments(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True)
    start = acts.add_parser("start", help="begin to count what a file's numbers would refuse")
    start.add_argument("file", type=Path, metavar="FILE", help="TOML: the numbers that change")
    start.add_argument("--bound", type=float, default=1.0, metavar="PERCENT")
    start.add_argument("--least", type=int, default=200, metavar="N", help="requests to judge by")
    status = acts.add_parser("status", help="the last, and what was counted; 1: none goes on")
    advance = acts.add_parser("advance", help="go on: 10 % of tenants, 50 %, all, in force")
    advance.add_argument("--percent", type=int, metavar="N", help="to so many percent of tenants")
    abort = acts.add_parser("abort", help="give it up")
    abort.add_argument("--why", default="", metavar="TEXT")
    for each in (start, status, advance, abort):
        allow_json(each)


def run(options: dict[str, Any], out: Out) -> int:
    try:
        return ACTS[options["act"]](options, out)
    except BadDraft as error:
        return fail(out, 2, error.code, str(error))
    except Refused as refused:
        return fail(out, 1, refused.code, str(refused))


def _start(options: dict[str, Any], out: Out) -> int:
    bound, least = options["bound"], options["least"]
    if not 0 <= bound <= 100 or least < 1:
        return fail(out, 2, "bad_value", "--bound is from 0 to 100, --least 1 or more")
    plans = draft.load(options["file"])
    if len(plans) > 1:
        raise BadDraft("several_policies", "", "one policy at a time is rolled out")
    _show(rollouts.start(plans[0], actor=ACTOR, bound=bound, least=least), out)
    return 0


def _status(options: dict[str, Any], out: Out) -> int:
    shown = list(Rollout.objects.select_related("policy")[:SHOWN])
    for rollout in shown:
        _show(rollout, out)
    return 0 if any(rollout.live for rollout in shown) else 1


def _advance(options: dict[str, Any], out: Out) -> int:
    rollout = _running()
    rollouts.advance(rollout, actor=ACTOR, percent=options["percent"])
    _show(rollout, out)
    return 0


def _abort(options: dict[str, Any], out: Out) -> int:
    rollout = _running()
    rollouts.abort(rollout, actor=ACTOR, why=options["why"])
    _show(rollout, out)
    return 0


ACTS = {"start": _start, "status": _status, "advance": _advance, "abort": _abort}


def _running() -> Rollout:
    rollout = rollouts.live()
    if rollout is None:
        raise Refused("not_running", "no roll-out goes on")
    return rollout


def _show(rollout: Rollout, out: Out) -> None:
    names = ("stage", "percent", "step", "admitted", "refused", "bound", "least", "draft", "why")
    said = {name: getattr(rollout, name) for name in names}
    told = {"id": rollout.pk, "policy": rollout.policy.name, **said}
    out.object(told | {"share": round(rollout.share, 3), "changed_at": rollout.changed_at})
    out.line(
        f"{rollout.pk:>4}  {rollout.policy.name}: {rollout.stage}, {rollout.percent} % of tenants; "
        f"{rollout.refused} of {rollout.admitted + rollout.refused} refused ({rollout.share:.2f} %,"
        f" {rollout.bound:g} % may be)  {rollout.why}".rstrip()
    )
