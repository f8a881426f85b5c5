"""Measures taken in turn, so that a slow minute of a shared machine slows all of them."""

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
T = TypeVar("T")


def in_turn(rounds: int, measures: Mapping[Name, Callable[[], T]]) -> dict[Name, tuple[T, ...]]:
    """What each measure gave, round by round: A B A B, and not A A B B."""
    taken: dict[Name, list[T]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return {name: tuple(results) for name, results in taken.items()}
