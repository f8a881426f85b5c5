"""``manage.py explain DECISION``: why a request was refused, or what an admitted one changed."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit import bounded
from audit.console.out import Out, allow_json
from audit.models import Event
from audit.trace import NoId
from stabilizer.gate import explanation

UNKNOWN, NO_ID = 1, 2
LABEL_WIDTH = 18


class Command(BaseCommand):
    help = (
        "Tell what decided on a request: rule, counters, pressure and inputs of a refusal, or the"
        " events that an admitted request caused. Ends with 0 when the id is known, 1 when nothing"
        " is known of it, 2 when it is no id."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "decision", help="`decision` of a refusal, or X-Request-ID of any answer"
        )
        allow_json(parser)

    def handle(self, **options: Any) -> None:
        out = Out(self.stdout, as_json=options.get("json", False))
        if status := self._explain(options["decision"], out):
            sys.exit(status)

    def _explain(self, decision: str, out: Out) -> int:
        try:
            found = explanation.explain(decision, Event.objects.all())
        except NoId as error:
            return _fail(out, NO_ID, "no_id", str(error))
        except bounded.TooLong as error:
            return _fail(out, UNKNOWN, "too_long", str(error))
        if found is None:
            return _fail(out, UNKNOWN, "unknown", explanation.unknown())
        out.object(found.document)
        for label, said in found.lines():
            out.line(f"{label:<{LABEL_WIDTH}}{said}")
        return 0


def _fail(out: Out, status: int, code: str, words: str) -> int:
    out.object({"error": code, "detail": words})
    out.line(words)
    return status
