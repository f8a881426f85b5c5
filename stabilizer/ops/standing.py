"""How flags and breakers stand, for the dashboard."""

from typing import Any

from ratelimit import flags
from stabilizer.gate.control import Control


def flags_at(pressure: int) -> list[dict[str, Any]]:
    """Each step: whether it is taken at this pressure, and what somebody has decided of it."""
    forced = flags.forced()
    return [
        {
            "name": step.name,
            "level": step.level,
            "taken": flags.taken(step, pressure),
            **_decision(forced.get(step.name)),
        }
        for step in flags.STEPS
    ]


def _decision(forced: flags.Forced | None) -> dict[str, Any]:
    if forced is None:
        return {"forced": None, "until": None, "owner": "", "reason": ""}
    return {
        "forced": forced.on,
        "until": round(forced.until),
        "owner": forced.owner,
        "reason": forced.reason,
    }


def breakers(control: Control) -> list[dict[str, Any]]:
    """The state of each breaker as this process knows it, since when, and the next try, in s."""
    return [
        {
            "name": breaker.name,
            "state": str(breaker.state),
            "since_s": round(control.clock() - breaker.since),
            "retry_s": round(breaker.retry_after_s, 1) if breaker.state != "closed" else None,
        }
        for breaker in (control.reads, control.writes)
    ]
