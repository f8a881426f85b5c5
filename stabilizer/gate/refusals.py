"""Whom the gate refuses: what they hear, what is counted, and what the trail is told.

Those who are refused for one cause are a flood, of which the trail keeps one record and a number.
The id that each of them hears leads there (`audit.trace`), so whatever explains a refusal is
gathered for the first of a flood only.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from audit import trace
from audit.entry import JSON
from audit.floods import Floods, Telling
from ratelimit.gcra import Charge, Quota, Verdict
from ratelimit.herd import Herd
from ratelimit.network import network
from stabilizer.gate import answers, identity
from stabilizer.gate.answers import Answer
from stabilizer.gate.arrival import Arrival
from stabilizer.gate.body import Body, Unread
from stabilizer.gate.breaker import Breaker
from stabilizer.gate.candidate import Candidate
from stabilizer.gate.identity import Caller
from stabilizer.gate.observer import Observer
from stabilizer.gate.repeats import Repeat
from stabilizer.gate.shedding import Shedding
from stabilizer.gate.slots import Slots
from stabilizer.gate.ticket import Ticket

Told = Callable[[], Mapping[str, JSON]]


class Cause(NamedTuple):
    """Why requests are refused, and as whose: all of one cause are one flood."""

    #: The limits that are violated, or what else stands in the way.
    reasons: tuple[str, ...]
    #: What the limits count by, or where that stands.
    keys: tuple[str, ...]
    actor: str = ""
    tenant: str = ""


class Refusals:
    """The refusals of one process.

    `pressure` is asked for its level when a flood begins.
    """

    def __init__(
        self,
        trail: Floods,
        observer: Observer,
        slots: Slots,
        herd: Herd,
        shedding: Shedding,
        pressure: Callable[[], int] = lambda: 0,
    ) -> None:
        self.pressure = pressure
        self._shedding = shedding
        self._trail = trail
        self._observer = observer
        self._slots = slots
        self._herd = herd

    def over_limits(self, candidate: Candidate, verdict: Verdict) -> Answer:
        """The refusal of a caller whose charges were not accepted."""
        arrival, caller = candidate.arrival, candidate.caller
        cause = _violated(caller, candidate.charges, verdict)
        self._record(arrival, caller, cause, partial(_counters, verdict))
        return answers.over_limits(arrival, verdict)

    def over_limits_known(self, candidate: Candidate, content: Body, verdict: Verdict) -> Repeat:
        """The refusal of a caller whose charges are known to be refused, for it to hear again."""
        arrival, caller = candidate.arrival, candidate.caller
        cause = _violated(caller, candidate.charges, verdict)
        told = partial(_counters, verdict)
        self._record(arrival, caller, cause, told)
        answer = answers.over_limits(arrival, verdict)
        return Repeat(arrival, caller, content, (cause, told), answer)

    def over_limits_still(self, arrival: Arrival, repeat: Repeat) -> Answer:
        """The refusal of a request that was refused a moment ago, and comes again as it was."""
        self._record(arrival, repeat.caller, *repeat.why)
        return repeat.answer_to(arrival)

    def overloaded(self, candidate: Candidate) -> Answer:
        """The refusal of a request for which there was no slot in time."""
        return self._sent_away(candidate, "slots")

    def pressed(self, candidate: Candidate) -> Answer:
        """The refusal of a request that others are more important than, under pressure."""
        return self._sent_away(candidate, "pressure")

    def shed(self, candidate: Candidate) -> Answer:
        """The refusal of a newcomer in whose place what is critical keeps its pace."""
        return self._sent_away(candidate, "shedding")

    def _sent_away(self, candidate: Candidate, why: str) -> Answer:
        arrival, caller, ticket = candidate.arrival, candidate.caller, candidate.ticket
        self._shedding.sent_away(arrival.policy, ticket)
        wait_s = self._turn_s(ticket)
        cause = _cause(caller, why, arrival.policy.name)
        told = partial(self._slots_then, ticket, wait_s)
        self._record(arrival, caller, cause, told, ticket.waited_s)
        return answers.overloaded(arrival, wait_s)

    def unavailable(self, candidate: Candidate, breaker: Breaker) -> Answer:
        """The refusal of a request that would only find out that the database cannot be asked.

        The wait is for the breaker's next probe, and then for a turn: they must not all come in the
        second of the probe.
        """
        arrival, caller = candidate.arrival, candidate.caller
        cause = _cause(caller, "breaker", breaker.name)
        self._record(arrival, caller, cause, partial(_breaker_then, breaker))
        return answers.unavailable(arrival, breaker.retry_after_s + self._turn_s(candidate.ticket))

    def _turn_s(self, ticket: Ticket) -> int:
        # What shedding keeps idle is promised to nobody.
        capacity = self._slots.capacity * self._shedding.share
        return self._herd.retry_after(ticket.kind, capacity, ticket.names)

    def unread(self, arrival: Arrival, why: Unread) -> Answer:
        """The refusal of a body that is too large, or did not come."""
        cause = Cause((why.name.lower(),), (network(arrival.address),))
        self._record(arrival, None, cause)
        answer = answers.too_slow if why is Unread.TOO_SLOW else answers.too_large
        return answer(arrival)

    def forged(self, arrival: Arrival, caller: Caller) -> Answer:
        """The refusal of somebody who shows a device_code that we did not make."""
        self._record(arrival, caller, _cause(caller, "forged", caller.network))
        return answers.forged(arrival)

    def nobody_known(self, arrival: Arrival) -> Answer:
        """The refusal of everybody, as long as this process has not read who its callers are."""
        self._record(arrival, None, Cause(("callers",), (arrival.policy.name,)))
        return answers.overloaded(arrival, 1)

    def _record(
        self,
        arrival: Arrival,
        caller: Caller | None,
        cause: Cause,
        told: Told = dict,
        waited_s: float = 0,
    ) -> None:
        self._observer.refused(arrival.policy, cause.reasons, waited_s)
        mark, number = self._trail.count(cause, partial(self._tell, arrival, caller, cause, told))
        arrival.trace(mark, number)

    def _tell(
        self, arrival: Arrival, caller: Caller | None, cause: Cause, told: Told, mark: str
    ) -> Telling:
        arrival.trace(mark, 1)
        policy = arrival.policy
        detail: dict[str, JSON] = {
            "policy": policy.name,
            "criticality": policy.criticality,
            "limits": list(cause.reasons),
            "keys": list(cause.keys),
            "method": arrival.method,
            "network": identity.digest(caller.network if caller else network(arrival.address)),
            "pressure": self.pressure(),
            **told(),
        }
        if arrival.shadow is not None:
            detail["trial"] = arrival.shadow.trial
        return Telling(
            "gate.refused",
            "refused",
            cause.actor,
            cause.tenant,
            detail,
            arrival.context,
            trace.subject(mark),
        )

    def _slots_then(self, ticket: Ticket, wait_s: float) -> Mapping[str, JSON]:
        slots = self._slots
        return {
            "slots": {
                "place": ticket.kind,
                "in_use": slots.in_use,
                "limit": slots.limit,
                "waiting": slots.waiting,
                "capacity_per_s": round(slots.capacity, 1),
                "waited_s": round(ticket.waited_s, 3),
                "wait_s": round(wait_s, 3),
                "let_in": round(self._shedding.share, 3),
            }
        }


def _cause(caller: Caller, reason: str, key: str) -> Cause:
    return Cause((reason,), (key,), *_who(caller))


def _violated(caller: Caller, charges: Sequence[Charge], verdict: Verdict) -> Cause:
    violated = verdict.refused(charges)
    names = tuple([charge.limit.name for charge in violated])
    return Cause(names, tuple([charge.key for charge in violated]), *_who(caller))


def _who(caller: Caller) -> tuple[str, str]:
    principal = caller.principal
    if principal is None:
        return "", ""
    return str(principal) if principal.kind == "key" else "", principal.tenant


def _counters(verdict: Verdict) -> Mapping[str, JSON]:
    """The limits as they were, and what was left of them."""
    told: dict[str, JSON] = {"counters": [_counter(quota) for quota in verdict.quotas]}
    if verdict.local:
        told["local"] = True
    return told


def _counter(quota: Quota) -> dict[str, JSON]:
    limit = quota.limit
    return {
        "limit": limit.name,
        "quantity": limit.quantity,
        "window_s": limit.window_s,
        "remaining": quota.remaining,
        "wait_s": quota.reset_s,
    }


def _breaker_then(breaker: Breaker) -> Mapping[str, JSON]:
    wait_s = round(breaker.retry_after_s, 3)
    return {"breaker": {"name": breaker.name, "state": str(breaker.state), "wait_s": wait_s}}
