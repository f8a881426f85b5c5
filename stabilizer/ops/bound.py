"""How many requests more than its limits the fleet could let in now: the limits' error bound.

It is nothing while all processes ask one Redis. A process that is apart, because it cannot reach
Redis or is not heard of, goes on by its last share; whoever is not apart may be given that anew.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ratelimit.gcra import Limit
from ratelimit.leases import LEASE_S
from stabilizer.gate.policy import Policy
from stabilizer.ops.totals import Word


class Worst(NamedTuple):
    """The limit that can be passed by the largest part of itself: by `more`, of one account."""

    policy: str
    limit: str
    more: int
    quantity: int
    window_s: int


def of(words: Mapping[str, Word], now_ms: int, policies: Mapping[str, Policy]) -> dict[str, Any]:
    """The bound, for the dashboard: `slots` at once, and `percent` of what a limit allows.

    `apart` of the `processes` limit by themselves; `silent` of them have not been heard of for as
    long as a lease lasts, and may have died. `open` are policies that limit nobody meanwhile.
    """
    silent = {name for name, word in words.items() if now_ms - word.at_ms >= LEASE_S * 1000}
    apart = [word.said for name, word in words.items() if name in silent or not word.said["asks"]]
    lapsed = [word.said for name, word in words.items() if name in silent or word.said["lapsed"]]
    worst = _worst([said["processes"] for said in apart], policies.values())
    return {
        "slots": sum(said["share"] for said in lapsed),
        "percent": round(100 * worst.more / worst.quantity) if worst else 0,
        "worst": worst._asdict() if worst else None,
        "open": [name for name, policy in policies.items() if apart and _is_open(policy)],
        "apart": len(apart),
        "silent": len(silent),
        "processes": len(words),
    }


def share(limit: Limit, processes: int) -> int:
    """What each of so many processes allows of a limit by itself: one at least."""
    return limit.quantity // processes or 1


def _worst(divisors: list[int], policies: Iterable[Policy]) -> Worst | None:
    """Beside what Redis has granted already, each that is apart may grant its share once more."""
    found = [
        Worst(
            policy.name,
            limit.name,
            sum(share(limit, processes) for processes in divisors),
            limit.quantity,
            limit.window_s,
        )
        for policy in policies
        for limit in policy.limits
        if limit.store_away == "local"
    ]
    worst = max(found, key=lambda each: each.more / each.quantity, default=None)
    return worst if divisors else None


def _is_open(policy: Policy) -> bool:
    return any(limit.store_away == "open" for limit in policy.limits)
