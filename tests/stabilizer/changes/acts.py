"""What can be done through a door, and the records it has to leave; or why it leaves none."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from tests.stabilizer.changes.stage import Stage

Change = Callable[[], Any]


class Act(NamedTuple):
    """`prepare` returns the change itself: what happens before it is no part of the act."""

    door: str
    #: The actions recorded, each as often as it stands here. None: nothing is changed.
    records: tuple[str, ...]
    #: How the actor of each record begins; empty where nobody is known.
    by: str
    #: Of the answer; 0 is any that says yes.
    status: int
    prepare: Callable[[Stage], Change]

    def __str__(self) -> str:
        return f"{self.prepare.__name__} ({self.door})"


def act(
    door: str, *records: str, by: str = "", status: int = 0
) -> Callable[[Callable[[Stage], Change]], Act]:
    """Makes an act of the decorated preparation."""
    return lambda prepare: Act(door, records, by, status, prepare)


def acts_in(module: ModuleType) -> list[Act]:
    """The acts of a module, in its order."""
    return [each for each in vars(module).values() if isinstance(each, Act)]
