"""A line of `make bench`: our figure and a peer's, measured in turn, as a ratio with its spread."""

import math
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What was promised: a bound of the ratio, or of our own figure where there is no peer."""

    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"


def at_least(bound: float) -> Goal:
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """`ours` and `peers` hold one figure of each round, in `unit`, the rounds in the same order.

    A ratio is taken within a round, because the machine is not the same one in the next.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    #: Empty where our own figure is what was promised.
    peers: tuple[float, ...] = ()
    goal: Goal | None = None
    #: What one must know to judge the figures.
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours by the peer's, round by round; empty without a peer."""
        if not self.peers:
            return ()
        return tuple(_ratio(*pair) for pair in zip(self.ours, self.peers, strict=True))

    @property
    def judged(self) -> tuple[float, ...]:
        """What the goal bounds: the ratios, or our own figures."""
        return self.ratios or self.ours

    @property
    def value(self) -> float:
        return median(self.judged)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest of what the goal bounds."""
        return min(self.judged), max(self.judged)

    @property
    def met(self) -> bool | None:
        """Whether the median meets the goal; None where nothing was promised."""
        return None if self.goal is None else self.goal.is_met(self.value)

    def document(self) -> dict[str, Any]:
        """The row for programs: medians, and no number that JSON does not have."""
        return {
            "name": self.name,
            "ours": _finite(median(self.ours)),
            "peer": _finite(median(self.peers)) if self.peers else None,
            "unit": self.unit,
            "ratio": _finite(self.value) if self.peers else None,
            "spread": [_finite(end) for end in self.spread],
            "goal": str(self.goal) if self.goal else None,
            "met": self.met,
            "note": self.note,
        }


def _ratio(ours: float, peer: float) -> float:
    if peer:
        return ours / peer
    return math.inf if ours else math.nan


def _finite(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
