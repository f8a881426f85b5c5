"""Finds events by whole values and by time. Each value has an index; a time is a range of ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from audit import days
from audit.indexed import by_index
from audit.models import Event

#: Columns with an index, by which events are found.
NAMES = ("subject", "actor", "action", "request_id")


@dataclass(frozen=True, slots=True)
class Search:
    """Events made at `since` or later and before `until`, whose columns are as in `exact`."""

    exact: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    def among(self, events: "QuerySet[Event, Any]") -> "QuerySet[Event, Any]":
        """Those of `events` that are meant. Only partitions of that time are read."""
        span = {}
        if self.since is not None:
            span["pk__gte"] = days.first_id(self.since)
        if self.until is not None:
            span["pk__lt"] = days.first_id(self.until)
        return by_index(events, self.exact).filter(**self.exact, **span)

    def events(self) -> "QuerySet[Event, Any]":
        return self.among(Event.objects.all())

    def narrowed(self, **exact: str) -> "Search":
        """The same among events with these values."""
        return Search({**self.exact, **exact}, self.since, self.until)

    @property
    def told(self) -> dict[str, str]:
        """What was searched for, in the words of a record."""
        times = {"since": self.since, "until": self.until}
        return {**self.exact, **{name: str(time) for name, time in times.items() if time}}
