"""What a changed policy would have refused: the trail's requests, decided again by both.

The arithmetic is the gate's own (`ratelimit.local`, for one process), and its clock is the time of
the records. Memory is bounded by the accounts that `LocalLimits` remembers.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from audit import export
from audit.models import Event
from audit.search import Search
from ratelimit.draft import Draft
from ratelimit.gcra import Charge
from ratelimit.local import LocalLimits
from stabilizer.gate import policy_rows
from stabilizer.gate.policy import Policy
from stabilizer.recorded import ADMITTED, REFUSED, UNTOLD, Attempt, Policies, attempts

#: The record of how many a flood had comes after it: so long what follows is held back.
HELD_S = 30.0
#: Accounts have to be warm when counting begins; windows may be as long as a year.
WARM = timedelta(days=1)

Tallies = dict[tuple[str, str], "Tally"]


@dataclass(slots=True)
class Tally:
    """One tenant's requests under one policy."""

    requests: int = 0
    #: Really, then.
    refused_then: int = 0
    #: By the policies in force, and by the changed ones, decided again.
    refused_by_current: int = 0
    refused_by_changed: int = 0
    #: Admitted by the ones, refused by the others.
    newly_refused: int = 0
    newly_admitted: int = 0
    #: By which limits, of those newly refused.
    limits: dict[str, int] = field(default_factory=dict)


class Replay:
    """Decides requests one after another by two sets of policies."""

    def __init__(self, counted_from: float) -> None:
        self.tallies: Tallies = {}
        #: The moment that has been reached.
        self.now = 0.0
        self._counted_from = counted_from
        self._current = LocalLimits(clock=lambda: self.now)
        self._changed = LocalLimits(clock=lambda: self.now)

    def decide(self, attempt: Attempt) -> None:
        """One of the attempt's requests, now."""
        old = self._current.charge(_kept(attempt.current), 1)
        new = self._changed.charge(_kept(attempt.changed), 1)
        if self.now < self._counted_from:
            return
        tally = self.tallies.setdefault((attempt.tenant, attempt.policy), Tally())
        tally.requests += 1
        tally.refused_then += attempt.was_refused
        tally.refused_by_current += not old.allowed
        tally.refused_by_changed += not new.allowed
        tally.newly_admitted += new.allowed and not old.allowed
        if old.allowed and not new.allowed:
            tally.newly_refused += 1
            for limit in new.violated:
                tally.limits[limit] = tally.limits.get(limit, 0) + 1


def run(
    drafts: Sequence[Draft],
    since: datetime,
    until: datetime,
    progress: Callable[[int], object] = lambda seconds: None,
) -> Tallies:
    """What both would have decided from `since` to `until`, by tenant and policy.

    `progress` hears of the seconds of that time that were replayed.
    """
    current, changed = policy_rows.read(), policy_rows.read(drafts)
    names = affected(current, changed)
    begin = since - min(WARM, timedelta(seconds=_longest_s(names, current, changed)))
    replay = Replay(since.timestamp())
    told_s = 0
    for attempt in _in_order(_attempts(names, begin, until, current, changed)):
        replay.now = max(replay.now, attempt.at)
        replay.decide(attempt)
        if (reached_s := int(replay.now - since.timestamp())) > told_s:
            progress(reached_s - told_s)
            told_s = reached_s
    return replay.tallies


def affected(current: Policies, changed: Policies) -> frozenset[str]:
    """The policies whose limits differ: limits may be shared."""
    return frozenset(name for name in current if current[name].limits != changed[name].limits)


def unknown(drafts: Sequence[Draft]) -> list[str]:
    """What this cannot tell, each in a sentence."""
    current, changed = policy_rows.read(), policy_rows.read(drafts)
    names = affected(current, changed)
    parts = sorted(
        {
            rule.limit.name
            for name in names
            for rule in changed[name].rules
            if any(part in UNTOLD for part in rule.by)
        }
    )
    told = [
        "Requests that changed nothing (reads, polls) leave no record and are not replayed.",
        "Callers are taken to ask as they did, whatever they would have been answered.",
        "Devices that showed a token are counted as strangers: the trail does not tell them apart.",
    ]
    if parts:
        told.append(f"Not counted, for the trail does not tell whose: {', '.join(parts)}.")
    if missing := sorted(names - {*ADMITTED.values()}):
        told.append(f"Of these policies only refusals are recorded: {', '.join(missing)}.")
    if any(draft.numbers for draft in drafts):
        told.append(
            "Criticality, weight, waiting time and what holds without Redis are not replayed: who"
            " waited for a slot, and for how long, is not recorded."
        )
    return told


def _attempts(
    names: frozenset[str], begin: datetime, until: datetime, current: Policies, changed: Policies
) -> Iterator[Attempt]:
    actions = [action for action, name in ADMITTED.items() if name in names]
    for event in _events([*actions, REFUSED], begin, until):
        yield from (each for each in attempts(event, current, changed) if each.policy in names)


def _events(actions: Sequence[str], begin: datetime, until: datetime) -> Iterator[Event]:
    """Page by page, partition by partition."""
    return export.events(Search({}, begin, until), actions=actions)


def _in_order(found: Iterator[Attempt]) -> Iterator[Attempt]:
    """Single requests in the order of their time, as far as `HELD_S` puts them right."""
    held: list[tuple[float, int, Attempt]] = []
    order = count()
    for attempt in found:
        heapq.heappush(held, (attempt.at, next(order), attempt))
        # A record that closes a flood is about earlier; what came with it is not.
        yield from _released(held, order, attempt.at - HELD_S)
    yield from _released(held, order, float("inf"))


def _released(
    held: list[tuple[float, int, Attempt]], order: "count[int]", until: float
) -> Iterator[Attempt]:
    while held and held[0][0] <= until:
        _, _, attempt = heapq.heappop(held)
        yield attempt
        if attempt.times > 1:
            step_s = attempt.over_s / attempt.times
            rest = attempt._replace(
                at=attempt.at + step_s, times=attempt.times - 1, over_s=attempt.over_s - step_s
            )
            heapq.heappush(held, (rest.at, next(order), rest))


def _kept(charges: list[Charge]) -> list[Charge]:
    """As if Redis had always answered."""
    return [
        charge
        if charge.limit.store_away == "local"
        else charge._replace(limit=replace(charge.limit, store_away="local"))
        for charge in charges
    ]


def _longest_s(names: frozenset[str], *tables: Mapping[str, Policy]) -> int:
    limits = [limit for table in tables for name in names for limit in table[name].limits]
    return max((limit.window_s for limit in limits), default=0)
