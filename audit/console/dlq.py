"""dead letters, which could not be stored: `list`, `show`, `replay`, `drop`"""

from argparse import ArgumentParser
from typing import Any

from django.db.models import QuerySet

from audit import deadletters
from audit.console.out import Out, allow_json
from audit.models import DeadLetter

ACTOR = "command:audit dlq"
SHOWN = 50


def add_arguments(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True)
    some = acts.add_parser("list", help="the latest of them")
    some.add_argument("-n", "--lines", type=int, default=SHOWN, help=f"how many ({SHOWN})")
    some.add_argument("--reason", choices=DeadLetter.Reason.values)
    show = acts.add_parser("show", help="one as it is")
    show.add_argument("id", type=int)
    replay = acts.add_parser("replay", help="try to store them once more, after a mend")
    drop = acts.add_parser("drop", help="give them up for good")
    drop.add_argument("--why", required=True, help="the trail keeps it")
    for each in (replay, drop):
        each.add_argument("id", type=int, nargs="*", help="these, or with --reason or --all more")
        each.add_argument("--reason", choices=DeadLetter.Reason.values)
        each.add_argument("--all", action="store_true")
    for each in (some, show, replay, drop):
        allow_json(each)


def run(options: dict[str, Any], out: Out) -> int:
    return {"list": _list, "show": _show, "replay": _replay, "drop": _drop}[options["act"]](
        options, out
    )


def _list(options: dict[str, Any], out: Out) -> int:
    letters = DeadLetter.objects.order_by("-pk")
    if options["reason"]:
        letters = letters.filter(reason=options["reason"])
    for letter in letters[: options["lines"]]:
        out.object(_fields(letter))
        out.line(
            f"{letter.pk:>8}  {letter.at:%Y-%m-%d %H:%M:%S}  {letter.reason:<10}  {letter.source}"
            f"  {letter.explanation}"
        )
    return 0


def _show(options: dict[str, Any], out: Out) -> int:
    letter = DeadLetter.objects.filter(pk=options["id"]).first()
    if letter is None:
        return _fail(out, "no_such_letter", f"no dead letter {options['id']}")
    out.object(_fields(letter))
    for name, value in _fields(letter).items():
        out.line(f"{name:<14}{value}")
    return 0


def _replay(options: dict[str, Any], out: Out) -> int:
    letters = _chosen(options)
    if letters is None:
        return _fail(out, "none_chosen", "say which: ids, --reason or --all")
    stored = dead = 0
    with out.progress("trying again", letters.count()) as bar:
        for batch in deadletters.replay(letters, actor=ACTOR):
            stored, dead = stored + batch.stored, dead + batch.dead
            bar.advance(batch.stored + batch.dead)
    out.counts({"stored": stored, "dead": dead})
    return 1 if dead else 0


def _drop(options: dict[str, Any], out: Out) -> int:
    letters = _chosen(options)
    if letters is None:
        return _fail(out, "none_chosen", "say which: ids, --reason or --all")
    out.counts({"dropped": deadletters.drop(letters, actor=ACTOR, why=options["why"])})
    return 0


def _chosen(options: dict[str, Any]) -> "QuerySet[DeadLetter] | None":
    """The letters that were named; None if none were."""
    letters = DeadLetter.objects.all()
    if options["id"]:
        letters = letters.filter(pk__in=options["id"])
    elif not (options["reason"] or options["all"]):
        return None
    return letters.filter(reason=options["reason"]) if options["reason"] else letters


def _fields(letter: DeadLetter) -> dict[str, Any]:
    names = ("id", "at", "reason", "explanation", "source", "producer", "replays", "entry")
    return {name: getattr(letter, name) for name in names}


def _fail(out: Out, code: str, text: str) -> int:
    out.object({"error": code})
    out.line(text)
    return 2
