"""What could not be stored: it is tried again after a mend, or given up by somebody who says so."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, QuerySet

import audit
from audit import ingest
from audit.entry import JSON
from audit.models import DeadLetter

BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class Replay:
    """How many were stored, or were in the trail already, and how many are dead still."""

    stored: int
    dead: int


def replay(letters: "QuerySet[DeadLetter]", *, actor: str) -> Iterator[Replay]:
    """Try these once more, batch by batch. What is stored leaves the dead letters with it."""
    keys = list(letters.order_by("pk").values_list("pk", flat=True))
    for first in range(0, len(keys), BATCH_ROWS):
        yield _replay(keys[first : first + BATCH_ROWS], actor)


def drop(letters: "QuerySet[DeadLetter]", *, actor: str, why: str) -> int:
    """Give these up for good; the trail says who did and why. How many."""
    with transaction.atomic():
        keys = list(letters.select_for_update().values_list("pk", flat=True))
        DeadLetter.objects.filter(pk__in=keys).delete()
        if keys:
            detail: dict[str, JSON] = {
                "letters": len(keys),
                "why": why,
                "first": keys[0],
                "last": keys[-1],
            }
            audit.record_with_change("audit.letters_dropped", actor=actor, detail=detail)
    return len(keys)


def _replay(keys: list[int], actor: str) -> Replay:
    with transaction.atomic():
        rows = list(DeadLetter.objects.select_for_update().filter(pk__in=keys).order_by("pk"))
        readable = [row for row in rows if row.reason != DeadLetter.Reason.DAMAGED]
        letters = [ingest.Letter(row.entry, row.producer, row.source) for row in readable]
        still = {(row.source, row.entry): row for row in ingest.store(letters)}
        for row in readable:
            if again := still.get((row.source, row.entry)):
                row.reason, row.explanation = again.reason, again.explanation
        kept = [row for row in readable if (row.source, row.entry) in still]
        DeadLetter.objects.bulk_update(kept, ["reason", "explanation"])
        dead = [row.pk for row in rows if row not in readable] + [row.pk for row in kept]
        DeadLetter.objects.filter(pk__in=dead).update(replays=F("replays") + 1)
        stored = [row.pk for row in rows if row.pk not in dead]
        DeadLetter.objects.filter(pk__in=stored).delete()
        detail: dict[str, JSON] = {"stored": len(stored), "dead": len(dead), "first": keys[0]}
        audit.record_with_change("audit.letters_replayed", actor=actor, detail=detail)
    return Replay(len(stored), len(dead))
