"""Finds what the trail tells of a decision: of all refusals of a flood, and of what was let in."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.db.models import QuerySet

from audit import bounded, trace
from audit.floods import EVERY_S
from audit.models import Event
from audit.search import Search
from audit.trace import NoId, Trace

#: A request is given its id when it arrives, and may be refused so much later: after a slow body,
#: or its time in the queue.
LATE = timedelta(seconds=60)
#: Ids are made by the host's clock, records by one that does not jump.
APART = timedelta(seconds=60)
#: The record that closes a flood is written when its process refuses somebody else, or stops.
CLOSED_WITHIN = timedelta(days=1)
#: How long after its id was made a request may still change something.
SERVED_WITHIN = timedelta(minutes=2)
#: Events of one request that are told.
MOST = 100
Events = QuerySet[Event, Any]


class Flood(NamedTuple):
    """The first record of a flood, and how many refusals it had; None: nobody has told yet."""

    first: Event
    size: int | None


def flood(of: Trace, among: Events) -> Flood | None:
    """The flood of which an id is a refusal, if its records are `among` these. Two look-ups."""
    about = {"subject": trace.subject(of.mark)}
    around = Search(about, of.at - LATE - APART, of.at + LATE + APART).among(among)
    begun: set[str] = set()
    for first in around.order_by("pk"):
        if first.decision_id in begun or not _covers(first, of):
            continue
        begun.add(first.decision_id)
        rest = Search(about, first.at, first.at + CLOSED_WITHIN).among(among)
        closing = rest.filter(decision_id=first.decision_id, pk__gt=first.pk).order_by("pk").first()
        size = 1 + closing.detail["count"] if closing else None
        if size is None or of.number <= size:
            return Flood(first, size)
    return None


def caused(by: Trace, among: Events) -> list[Event]:
    """The events that an admitted request caused, oldest first. Raises `bounded.TooLong`."""
    found = list(Search({"request_id": by.id}).among(among).order_by("pk")[:MOST])
    if found:
        return found
    # A proxy of ours had named the request; decisions have no index.
    span = Search({}, by.at - APART, by.at + SERVED_WITHIN + APART)
    with bounded.within(bounded.LONGEST_S):
        return list(span.among(among).filter(decision_id=by.id).order_by("pk")[:MOST])


def _covers(first: Event, of: Trace) -> bool:
    try:
        begun = trace.read(first.decision_id).at
    except NoId:
        return False
    ended = begun + timedelta(seconds=EVERY_S) + APART
    return begun - LATE <= of.at <= ended and of.number >= 1
