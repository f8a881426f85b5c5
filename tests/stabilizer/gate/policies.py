"""Policies with limits that tests can reach."""

from ratelimit.gcra import Limit
from stabilizer.gate.policy import DEFAULTS, Policy, Rule


def limited(*limits: tuple[str, int, int], **options) -> dict[str, Policy]:
    """The policies, with limits by network on every path that has no policy of its own."""
    rules = tuple(
        Rule(Limit(name, quantity, window_s), ("network",), f"default.{name}")
        for name, quantity, window_s in limits
    )
    return {**DEFAULTS, "default": Policy("default", rules=rules, **options)}
