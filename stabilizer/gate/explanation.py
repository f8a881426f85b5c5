"""Why a request was refused, or what an admitted one changed: what the trail tells of its id."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from audit import lookup, trace
from audit.entry import Unstorable
from audit.finding import in_words
from audit.lookup import Events, Flood
from audit.models import Event
from audit.trace import Trace

Line = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a decision, as a `document` for programs and as `lines` for people."""

    trace: Trace
    flood: Flood | None
    #: What an admitted request caused.
    events: tuple[Event, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        told: dict[str, Any] = {"decision": self.trace.id, "at": _exactly(self.trace.at)}
        if self.flood is None:
            return told | {"outcome": "admitted", "events": [_event(each) for each in self.events]}
        first = self.flood.first
        return told | {
            "outcome": "refused",
            "number": self.trace.number,
            "count": self.flood.size,
            "since": _exactly(first.at),
            "after_s": self._after_s(first),
            "event": first.pk.hex,
            "actor": first.actor,
            "tenant": first.tenant,
            **{name: value for name, value in _detail(first).items() if name != "count"},
        }

    def lines(self) -> Iterator[Line]:
        """Each a label and what it says, in the reader's language."""
        yield _("decision"), f"{self.trace.id}, {_shown(self.trace.at)}"
        if self.flood is None:
            yield _("outcome"), _("admitted; it caused what follows")
            for event in self.events:
                words = (_shown(event.at), in_words(event.action), event.subject, event.actor)
                yield event.action, ", ".join(word for word in words if word)
            return
        detail = _detail(self.flood.first)
        yield _("outcome"), _("refused")
        yield _("rule"), _rule(detail)
        yield from _counters(detail, self._after_s(self.flood.first))
        if "trial" in detail:
            yield _("in roll-out"), str(detail["trial"])
        yield from _slots(detail.get("slots"))
        yield from _breaker(detail.get("breaker"))
        yield _("pressure"), str(detail.get("pressure", 0))
        yield from self._inputs(self.flood.first, detail)
        yield _("stands for"), self._share(self.flood)
        yield _("event"), self.flood.first.pk.hex

    def _after_s(self, first: Event) -> float:
        """How long after the first of its flood it came: the counters are those of the first."""
        return round(
            max(0.0, (self.trace.at - trace.read(first.decision_id).at).total_seconds()), 3
        )

    def _inputs(self, first: Event, detail: Mapping[str, Any]) -> Iterator[Line]:
        yield _("method"), str(detail.get("method", ""))
        yield _("tenant"), first.tenant or _("none known")
        yield _("caller"), first.actor or _("shows no key")
        of_first = _("; of the first, as the counters are") if self.trace.number > 1 else ""
        yield _("network"), str(detail.get("network", "")) + of_first
        yield _("counted by"), ", ".join(map(str, detail.get("keys", ())))

    def _share(self, flood: Flood) -> str:
        number, since = self.trace.number, _shown(flood.first.at)
        if flood.size is None:
            words = _("at least {number} refusals within ten seconds since {since}; this is one")
            return words.format(number=number, since=since)
        words = _("{count} refusals within ten seconds since {since}; this is number {number}")
        return words.format(count=flood.size, since=since, number=number)


def explain(decision: str, among: Events) -> Explanation | None:
    """What the trail tells of an id, or None: we never made it, or what it told of is gone.

    Raises `trace.NoId`, and `bounded.TooLong`.
    """
    read = trace.read(decision)
    if found := lookup.flood(read, among):
        return Explanation(read, found)
    events = [each for each in lookup.caused(read, among) if each.action != "gate.refused"]
    return Explanation(read, None, tuple(events)) if events else None


def unknown() -> str:
    """What to say of an id of which nothing is known."""
    return _(
        "Nothing is known of this id: it is of no refusal of ours and of no event in the trail, or"
        " its record is still on its way, or the day of its record was dropped. What is admitted"
        " and changes nothing leaves no record."
    )


def _rule(detail: Mapping[str, Any]) -> str:
    reasons = ", ".join(map(str, detail.get("limits", ())))
    words = _("{reasons} of the policy {policy}, which is {criticality}")
    return words.format(
        reasons=reasons,
        policy=detail.get("policy", ""),
        criticality=detail.get("criticality", "?"),
    )


def _counters(detail: Mapping[str, Any], after_s: float) -> Iterator[Line]:
    violated = detail.get("limits", ())
    for counter in detail.get("counters", ()):
        words = _("{quantity} in {window_s} s; {remaining} left, {wait_s} s until there is more")
        said = words.format(**counter)
        if counter["limit"] in violated:
            left_s = max(0, math.ceil(counter["wait_s"] - after_s))
            said += _("; violated, and {left_s} s to wait for this one").format(left_s=left_s)
        yield _("limit {name}").format(name=counter["limit"]), said
    if detail.get("local"):
        yield _("counted"), _("by this process alone, for Redis was away")


def _slots(slots: Mapping[str, Any] | None) -> Iterator[Line]:
    if slots is not None:
        words = _(
            "{in_use} of {limit} in use, {waiting} waiting, {capacity_per_s} free up a second;"
            " waited {waited_s} s as {place}, told to come in {wait_s} s"
        )
        yield _("slots"), words.format(**slots)
        if (share := slots.get("let_in", 1)) < 1:
            yield _("newcomers let in"), f"{100 * share:.0f} %"


def _breaker(breaker: Mapping[str, Any] | None) -> Iterator[Line]:
    if breaker is not None:
        words = _("{name} was {state}, {wait_s} s until its next probe")
        yield _("breaker"), words.format(**breaker)


def _event(event: Event) -> dict[str, Any]:
    names = ("action", "outcome", "subject", "actor", "tenant")
    said = {name: getattr(event, name) for name in names}
    return {"id": event.pk.hex, "at": _exactly(event.at), **said}


def _detail(event: Event) -> Mapping[str, Any]:
    try:
        return event.detail or {}
    except Unstorable:
        # Somebody wrote over it: `audit verify` says so.
        return {}


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def _exactly(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
