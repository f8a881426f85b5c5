"""Waiting devices, dealt out to processes of their own, as one crowd."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import dialogue
from bench.dialogue import Partner
from bench.gateways import Gateways
from bench.place import MeasureFailed, Place

#: Whoever is not answered by then is not served.
LIMIT_S = 120.0
#: Calmly: so many have not been answered yet.
AT_ONCE = 300


@dataclass(frozen=True)
class Told:
    """What the devices say of themselves."""

    devices: int
    #: Those that know where they stand, over the connection that they have now.
    waiting: int
    #: How often one was told when to return.
    told: int
    #: Connections that were not made, or ended without a bye, and messages out of the ordinary.
    broken: Mapping[str, int]
    others: Mapping[str, int]
    #: When they began to come, for how long, and the load's processor time for it.
    began: float = 0.0
    took_s: float = 0.0
    cpu_s: float = 0.0
    #: When each heard that it is approved, by UDID; how long after its time a return was answered.
    approved: Mapping[str, float] = field(default_factory=dict)
    late_s: Sequence[float] = ()

    @property
    def served_percent(self) -> float:
        return 100 * self.waiting / self.devices

    @property
    def share(self) -> float:
        """Of the machine, what the load took."""
        return self.cpu_s / self.took_s / (os.cpu_count() or 1)

    def __str__(self) -> str:
        said = ", ".join(
            f"{count:,} {what}" for what, count in (*self.broken.items(), *self.others.items())
        )
        return f"{self.waiting:,} of {self.devices:,} wait" + (f" ({said})" if said else "")


class Crowd:
    """Devices of one file of pairings, in several processes."""

    def __init__(self, partners: Sequence[Partner]) -> None:
        self._partners = partners
        self._devices = 0

    def take(self, gateways: Gateways, file: Path, first: int, count: int) -> None:
        """Be `count` devices of `file`, from `first` on; whoever was here before is forgotten."""
        self._devices = count
        most = -(-count // len(self._partners))
        for number, partner in enumerate(self._partners):
            begins = min(count, number * most)
            own = min(most, count - begins)
            partner.say("take", url=gateways.url, file=str(file), first=first + begins, count=own)
        for partner in self._partners:
            partner.hear()

    def arrive(self, at_once: int = AT_ONCE) -> Told:
        """Connect, and see that each is answered. Raises `MeasureFailed`."""
        told = self.come(at_once)
        if told.waiting < told.devices:
            raise MeasureFailed(str(told))
        return told

    def come(self, at_once: int) -> Told:
        """Connect, so many at once, and wait for the answers."""
        own = -(-at_once // len(self._partners))
        return self._all("come", at_once=own, limit_s=LIMIT_S)

    def leave(self) -> Told:
        """Hang up, all at once."""
        return self._all("leave")

    def settle(self, *, approved: int = 0, limit_s: float = LIMIT_S) -> Told:
        """Wait until everybody waits again and so many are approved, but no longer than that."""
        return self._all("settle", approved=-(-approved // len(self._partners)), limit_s=limit_s)

    def _all(self, act: str, **given: Any) -> Told:
        for partner in self._partners:
            partner.say(act, **given)
        return self._together([partner.hear() for partner in self._partners])

    def _together(self, reports: Sequence[Mapping[str, Any]]) -> Told:
        began = min(each.get("began", 0.0) for each in reports)
        ended = max(each.get("began", 0.0) + each.get("took_s", 0.0) for each in reports)
        broken, others = Counter[str](), Counter[str]()
        approved: dict[str, float] = {}
        for each in reports:
            broken.update(each["broken"])
            others.update(each["others"])
            approved |= each.get("approved", {})
        return Told(
            self._devices,
            sum(each["waiting"] for each in reports),
            sum(each["told"] for each in reports),
            broken,
            others,
            began,
            ended - began,
            sum(each.get("cpu_s", 0.0) for each in reports),
            approved,
            [late_s for each in reports for late_s in each.get("late_s", ())],
        )


@contextmanager
def of(place: Place, processes: int) -> Iterator[Crowd]:
    """Nobody yet, in so many processes."""
    with ExitStack() as stack:
        yield Crowd(
            [
                stack.enter_context(dialogue.partner(place, "bench.waiting", place.env))
                for _ in range(processes)
            ]
        )


def pairings(place: Place, count: int) -> Path:
    """A file of `count` new pairings that wait."""
    place.directory.mkdir(parents=True, exist_ok=True)
    file = place.directory / "pairings.txt"
    place.told("bench.pairings", {"file": str(file), "count": count})
    return file
