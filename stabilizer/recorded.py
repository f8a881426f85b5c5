"""Requests as the trail tells of them: under which policy each came, and by what it was counted.

The trail holds what was changed and what was refused. Its records have the parts of a caller that
most limits count by, so `identity.charges` finds the very accounts that the gate charged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from accounts import snapshot
from audit.entry import Unstorable
from audit.floods import EVERY_S
from audit.models import Event
from ratelimit import shared_networks
from ratelimit.gcra import Charge
from ratelimit.network import network
from stabilizer.gate import identity
from stabilizer.gate.identity import NOBODY
from stabilizer.gate.policy import Policy
from stabilizer.gate.trial import OWN

Policies = Mapping[str, Policy]
#: The policy that admitted what an action tells of. Both ways of the API and of OAuth to begin are
#: counted by the same counters, and the trail does not tell them apart; so are the two to approve.
ADMITTED = {
    "pairing.created": "pairing.create",
    "pairing.renewed": "pairing.renew",
    "pairing.delivered": "pairing.credentials",
    "pairing.acknowledged": "pairing.ack",
    "pairing.approved": "pairing.associate",
    "pairing.denied": "pairing.associate",
    "login.failed": "login",
}
REFUSED = "gate.refused"
#: Nobody's request: time did it.
BY_TIME = "time"
#: What limits count by that no record of an admitted request tells.
UNTOLD = ("fingerprint", "proof")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A caller as far as a record tells of it; `identity.charges` takes it for one."""

    address: str
    tenant: str = NOBODY
    udid: str | None = None
    username: str | None = None
    #: Of a pairing: it has one device_code.
    device_code: str | None = None
    person: str | None = None
    fingerprint: None = None
    proof: None = None
    #: Its plan is no policy's; whether it showed a token is not told, so it counts as a stranger.
    principal: None = None

    @property
    def network(self) -> str:
        return network(self.address)


class Attempt(NamedTuple):
    """So many requests of one kind, evenly from `at` on for `over_s`: epoch seconds."""

    at: float
    policy: str
    tenant: str
    times: int
    over_s: float
    current: list[Charge]
    changed: list[Charge]
    was_refused: bool


def attempts(event: Event, current: Policies, changed: Policies) -> Iterator[Attempt]:
    """The requests that an event stands for, with what each costs; none if that is not told."""
    at = event.at.timestamp()
    if event.action == REFUSED:
        yield from _refused(event, at, current, changed)
        return
    name = ADMITTED.get(event.action)
    if name is None or event.actor == BY_TIME:
        return
    caller: Any = _caller(event)
    old, new = (identity.charges(policies[name], caller) for policies in (current, changed))
    if old:
        yield Attempt(at, name, event.tenant, 1, 0, old, new, was_refused=False)


def _refused(event: Event, at: float, current: Policies, changed: Policies) -> Iterator[Attempt]:
    try:
        detail = event.detail
    except Unstorable:
        return
    name = detail.get("policy", "")
    if name not in current:
        return
    keys = detail.get("keys", ())
    old, new = (_by_keys(each[name], keys, event.address) for each in (current, changed))
    if old:
        times = detail.get("count", 1)
        # The closing record of a flood tells of those who came after its first.
        over_s = EVERY_S if times > 1 else 0
        began = min(at, _began(event)) if over_s else at
        tenant = event.tenant or _slug(keys)
        yield Attempt(began, name, tenant, times, over_s, old, new, was_refused=True)


def _began(event: Event) -> float:
    """When the flood began that this record closes: its decision is that of the first."""
    return int(event.decision_id[:12] or "0", 16) / 1000


def _by_keys(policy: Policy, keys: list[str], address: str) -> list[Charge]:
    rules = {rule.counter: rule for rule in policy.rules}
    found = []
    for key in keys:
        if key.count(":") < 3:
            continue
        *before, counter, account = key.split(":")
        # A changed limit in roll-out counts its own.
        counter = counter.partition(OWN)[0]
        rule = rules.get(counter)
        if rule is not None and not any(part in UNTOLD for part in rule.by):
            key = ":".join((*before, counter, account))
            wide = shared_networks.widened(rule.limit, address) if rule.of_network else rule.limit
            found.append(Charge(wide, key))
    return found


def _caller(event: Event) -> Recorded:
    kind, _, rest = event.actor.partition(":")
    if event.action == "login.failed":
        name = event.subject.partition(":")[2]
        return Recorded(event.address, username=name.lower())
    tenant = _tag(event.tenant)
    if event.action == "pairing.created":
        return Recorded(event.address, tenant, udid=rest.lower() or None)
    if event.action in ("pairing.approved", "pairing.denied"):
        # Keys are counted by their plan.
        return Recorded(event.address, tenant, person=None if kind == "key" else event.actor)
    return Recorded(event.address, tenant, device_code=event.subject)


def _slug(keys: list[str]) -> str:
    """The tenant of those who show no token, from the keys that they were counted by."""
    tag = keys[0].partition("{")[2].partition("}")[0]
    tenants = snapshot.current().tenants.values()
    return next((tenant.slug for tenant in tenants if f"t{tenant.id}" == tag), "")


def _tag(slug: str) -> str:
    """A tenant's hash tag in the keys of Redis."""
    tenants = snapshot.current().tenants.values()
    return next((f"t{tenant.id}" for tenant in tenants if tenant.slug == slug), NOBODY)
