"""The steps by which the service asks less of itself under pressure: each a flag admins may force.

A step is taken from its level of pressure on, unless somebody has forced it on or off, which ends
by itself. What is forced is kept in this process, read with the configuration: asking costs no
query and no call.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, connections

from audit import clock

#: Nothing stays forced for longer: what is wanted for good belongs into the code.
LONGEST_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Step:
    """One way to do less, and the pressure from which on it is gone."""

    name: str
    level: int


#: Lists: pages of `accounts.pagination.TRIMMED_SIZE` at most.
LISTS_TRIMMED = Step("lists_trimmed", 1)
#: Answers without what is in other tables.
FIELDS_TRIMMED = Step("fields_trimmed", 1)
#: No search by a prefix.
SEARCH_OFF = Step("search_off", 1)
#: "Still pending" is said from what this process has heard, without a query.
POLLS_COPIED = Step("polls_copied", 1)
#: The same list again: the answer of a moment ago.
LISTS_STALE = Step("lists_stale", 2)
#: What is `sheddable` is refused at the gate.
SHEDDABLE_REFUSED = Step("sheddable_refused", 2)
#: Of ordinary newcomers so many are let in that what is `critical` keeps its pace, while most are
#: refused in any case.
NEWCOMERS_SHED = Step("newcomers_shed", 2)
#: All but what is `critical` is refused at the gate.
ONLY_CRITICAL = Step("only_critical", 3)

STEPS = (
    LISTS_TRIMMED,
    FIELDS_TRIMMED,
    SEARCH_OFF,
    POLLS_COPIED,
    LISTS_STALE,
    SHEDDABLE_REFUSED,
    NEWCOMERS_SHED,
    ONLY_CRITICAL,
)
BY_NAME: Mapping[str, Step] = {step.name: step for step in STEPS}


@dataclass(frozen=True, slots=True)
class Forced:
    """What somebody has decided, until when (seconds since the epoch), and who answers for it."""

    on: bool
    until: float
    owner: str = ""
    reason: str = ""


_forced: Mapping[str, Forced] = {}


def taken(step: Step, pressure: int) -> bool:
    """Whether `step` is to be gone at this `pressure`."""
    if (forced := _forced.get(step.name)) and clock.timestamp() < forced.until:
        return forced.on
    return pressure >= step.level


def asked(step: Step, request: object) -> bool:
    """`taken`, at the pressure under which the gate let `request` in."""
    return taken(step, getattr(request, "pressure", 0))


def forced() -> dict[str, Forced]:
    """What is forced now, by the names of the steps."""
    now = clock.timestamp()
    return {name: each for name, each in _forced.items() if now < each.until}


def reload() -> None:
    """Read what is forced; `ratelimit.revision` calls it, away from any request."""
    from ratelimit.models import Flag

    global _forced
    _forced = {flag.name: flag.state for flag in Flag.objects.forced()}


def expire() -> None:
    """Write down what has ended by itself; `ratelimit.revision` calls it twice a second.

    All processes try. Whose UPDATE finds the row still forced writes the record.
    """
    from ratelimit.models import Flag

    now = clock.timestamp()
    if any(now >= each.until for each in _forced.values()):
        Flag.objects.expire(clock.now())
        reload()


def ensure_rows(using: str = DEFAULT_DB_ALIAS, **_: object) -> None:
    """A row of every step for admins to force, and none of others. Runs after `migrate`."""
    if "ratelimit_flag" not in connections[using].introspection.table_names():
        return  # migrated backwards
    from ratelimit.models import Flag

    Flag.objects.exclude(name__in=BY_NAME).delete()
    Flag.objects.bulk_create([Flag(name=name) for name in BY_NAME], ignore_conflicts=True)
