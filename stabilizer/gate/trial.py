"""A changed policy beside the one in force: which of the two decides, and what the other would do.

In shadow the one in force decides and the changed one counts; for a percentage of the tenants it is
the other way round. A limit that changes has accounts of its own, whichever decides, and those of
the limit in force go on being charged: when the change is withdrawn they are as if it never was.
What the one that only counts has to charge goes in the same call of the script.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from ratelimit.gcra import Charge, Verdict
from ratelimit.limiter import UNLIMITED, Limiter
from stabilizer.gate import identity, policy_rows
from stabilizer.gate.identity import Caller
from stabilizer.gate.observer import Observer
from stabilizer.gate.policy import Policy, Rule

if TYPE_CHECKING:
    from ratelimit.models import Rollout
    from stabilizer.gate.arrival import Arrival
    from stabilizer.gate.candidate import Candidate

logger = logging.getLogger(__name__)

#: Between a counter and the roll-out in which it has accounts of its own.
OWN = "~"


class Shadow(NamedTuple):
    """The policy that only counts, and how."""

    policy: Policy
    #: What the trial's requests are counted under.
    trial: str
    #: The names of the limits that change. The others are decided by, and charged, once.
    limits: frozenset[str]
    #: It is the one in force: the changed one decides.
    is_current: bool

    def charges(self, caller: Caller) -> list[Charge]:
        """What a request of `caller` would cost under it, of the limits that change."""
        charges = identity.charges(self.policy, caller)
        return [charge for charge in charges if charge.limit.name in self.limits]


@dataclass(frozen=True, slots=True)
class Trial:
    """A step of a roll-out, for one policy; nobody's requests are decided by it at 0 percent."""

    rollout_id: int
    percent: int
    current: Policy
    changed: Policy
    counts_current: Shadow
    counts_changed: Shadow

    def choose(self, tenant: str) -> tuple[Policy, Shadow | None]:
        """The policy that decides for a tenant, and the one that only counts, if it does."""
        if not self.percent:
            return self.current, self.counts_changed
        if is_chosen(self.rollout_id, tenant, self.percent):
            return self.changed, self.counts_current
        return self.current, None


def is_chosen(rollout_id: int, tenant: str, percent: int) -> bool:
    """Whether a tenant is among the `percent`: the same everywhere, and in any larger percent."""
    return crc32(f"{rollout_id} {tenant}".encode()) % 100 < percent


def beside(policies: Mapping[str, Policy], rollout: "Rollout | None") -> Mapping[str, Policy]:
    """`policies`, each with its trial where the roll-out changes it."""
    if rollout is None:
        return policies
    from ratelimit import draft  # models, which cannot be imported before the apps are ready

    try:
        plans = draft.read({rollout.policy.name: rollout.draft})
    except draft.BadDraft as error:
        logger.error("the roll-out %s is left aside: %s", rollout, error)
        return policies
    changed = policy_rows.read(plans)
    return MappingProxyType(
        {name: _tried(policy, changed[name], rollout) for name, policy in policies.items()}
    )


async def charge(limiter: Limiter, observer: Observer, candidate: "Candidate") -> Verdict:
    """The verdict of the policy that decides; where another is tried, what both would do counts."""
    arrival, charges = candidate.arrival, candidate.charges
    urgent = candidate.ticket.level == "critical"
    if arrival.shadow is None:
        return await limiter.charge(charges, urgent=urgent)
    beside = arrival.shadow.charges(candidate.caller)
    if not beside:
        verdict, other = await limiter.charge(charges, urgent=urgent), UNLIMITED
    else:
        verdict, other = await limiter.charge_beside(charges, beside, urgent=urgent)
    if not _counted(observer, arrival, beside, verdict, other):
        await limiter.refund(beside)
    return verdict


def charge_now(limiter: Limiter, observer: Observer, candidate: "Candidate") -> Verdict:
    """`charge` for threads."""
    arrival, charges = candidate.arrival, candidate.charges
    if arrival.shadow is None:
        return limiter.charge_now(charges)
    beside = arrival.shadow.charges(candidate.caller)
    if not beside:
        verdict, other = limiter.charge_now(charges), UNLIMITED
    else:
        verdict, other = limiter.charge_beside_now(charges, beside)
    if not _counted(observer, arrival, beside, verdict, other):
        limiter.refund_now(beside)
    return verdict


def _counted(
    observer: Observer,
    arrival: "Arrival",
    beside: Sequence[Charge],
    verdict: Verdict,
    other: Verdict,
) -> bool:
    """Counts what both would do; False: what only counts was charged, and neither would have."""
    shadow = arrival.shadow
    assert shadow is not None
    if not shadow.limits.issuperset(verdict.violated):
        # Refused by a limit that does not change: by both.
        return not other.allowed
    if other.allowed:
        # It goes back with what was really charged.
        arrival.beside = beside
    if not verdict.local and not other.local:
        current, changed = (other, verdict) if shadow.is_current else (verdict, other)
        if current.allowed:
            observer.tried(shadow.trial, refused=not changed.allowed)
    return True


def _tried(policy: Policy, changed: Policy, rollout: "Rollout") -> Policy:
    if policy == changed:
        return policy
    differing = [pair for pair in zip(policy.rules, changed.rules, strict=True) if _differ(*pair)]
    names = frozenset(rule.limit.name for rule, _ in differing)
    own = tuple(
        replace(rule, counter=f"{rule.counter}{OWN}{rollout.pk}")
        if rule.limit.name in names
        else rule
        for rule in changed.rules
    )
    changed = replace(changed, rules=own)
    trial = Trial(
        rollout.pk,
        rollout.percent,
        policy,
        changed,
        counts_current=Shadow(policy, rollout.trial, names, True),
        counts_changed=Shadow(changed, rollout.trial, names, False),
    )
    return replace(policy, trial=trial)


def _differ(rule: Rule, changed: Rule) -> bool:
    return rule.limit != changed.limit
