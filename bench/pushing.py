"""From the commit of an approval to the frame that tells the device, with thousands waiting."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench import crowd, dialogue, gateways
from bench.crowd import Crowd, Told
from bench.dialogue import Partner
from bench.gateways import Gateways
from bench.place import MeasureFailed, Place
from bench.row import Row, at_least, at_most
from stabilizer.stampede.tally import percentile

ROUNDS = 3
MS = "ms"
#: For the last of the approved to hear of it.
LAST_S = 10.0


@dataclass(frozen=True)
class Size:
    """How many wait, how many are approved and how fast, how many come at once meanwhile."""

    waiting: int
    approvals: int
    per_s: int
    coming: int
    #: After the first approval.
    come_after_s: float


FULL = Size(5_000, 1_000, 100, 3_000, 2.0)
QUICK = Size(200, 60, 60, 150, 0.2)


@dataclass(frozen=True)
class Round:
    """How long each push took, and what came of those who came meanwhile."""

    approved: int
    #: Of those who were told; where others came, of approvals in that time.
    pushes_ms: Sequence[float]
    told: int
    came: Told | None
    #: Of the gateways, while they came.
    cpu_s: float
    #: Of the machine, by the approvals.
    share: float

    def percentile(self, percent: int) -> float:
        return percentile(sorted(self.pushes_ms), percent)

    @property
    def told_percent(self) -> float:
        return 100 * self.told / self.approved


@dataclass(frozen=True)
class Stage:
    """All who take part, each in processes of their own."""

    place: Place
    size: Size
    gateways: Gateways
    waiting: Crowd
    coming: Crowd
    approver: Partner

    def calm(self) -> Round:
        return self._round(storm=False)

    def stormy(self) -> Round:
        return self._round(storm=True)

    def _round(self, *, storm: bool) -> Round:
        size = self.size
        file = crowd.pairings(self.place, size.waiting + (size.coming if storm else 0))
        self.waiting.take(self.gateways, file, 0, size.waiting)
        self.waiting.arrive()
        self.coming.take(self.gateways, file, size.waiting, size.coming if storm else 0)
        self.approver.say(
            "approve", file=str(file), first=0, count=size.approvals, per_s=size.per_s
        )
        came, cpu_s = self._come() if storm else (None, 0.0)
        approvals = self.approver.hear()
        told = self.waiting.settle(approved=len(approvals["committed"]), limit_s=LAST_S)
        self.waiting.leave()
        self.coming.leave()
        return _judged(approvals, told, came, cpu_s)

    def _come(self) -> tuple[Told, float]:
        time.sleep(self.size.come_after_s)
        before_s = self.gateways.seen().cpu_s
        came = self.coming.come(self.size.coming)
        return came, self.gateways.seen().cpu_s - before_s


def rows(place: Place) -> Iterator[Row]:
    """First in calm, then while others come at once."""
    with _stage(place) as stage:
        rounds = 1 if place.quick else ROUNDS
        calm = [stage.calm() for _ in range(rounds)]
        stormy = [stage.stormy() for _ in range(rounds)]
    size = stage.size
    what = f"from commit to frame, {size.waiting:,} waiting, {size.per_s} approvals/s"
    yield Row(f"{what}, p50", MS, _each(calm, 50))
    yield Row(f"{what}, p99", MS, _each(calm, 99), goal=at_most(50), note=_note(calm))
    yield Row("approvals of which the device was told", "%", _told(calm), goal=at_least(100))
    meanwhile = f"while {size.coming:,} others come at once"
    yield Row(f"from commit to frame {meanwhile}, p50", MS, _each(stormy, 50))
    yield Row(f"from commit to frame {meanwhile}, p99", MS, _each(stormy, 99), goal=at_most(250))
    told = f"approvals of which the device was told {meanwhile}"
    yield Row(told, "%", _told(stormy), goal=at_least(100))
    yield from _arrivals(stormy, size)


def _arrivals(rounds: Sequence[Round], size: Size) -> Iterator[Row]:
    came = [each.came for each in rounds if each.came is not None]
    what = f"{size.coming:,} come at once beside the approvals"
    served = tuple(each.served_percent for each in came)
    share = max(each.share for each in came)
    note = f"those who came took at most {share:.0%} of the machine"
    yield Row(f"{what}: answered", "%", served, goal=at_least(100), note=note)
    yield Row(f"{what}, until each is answered", "s", tuple(each.took_s for each in came))
    cpu_s = tuple(each.cpu_s for each in rounds)
    yield Row(f"{what}: CPU of the gateways meanwhile", "s of CPU", cpu_s)


def _judged(approvals: Any, told: Told, came: Told | None, cpu_s: float) -> Round:
    committed = approvals["committed"]
    if not committed or approvals["refused"]:
        raise MeasureFailed(f"{len(committed)} were approved: {approvals['refused']}")
    first, last = (came.began, came.began + came.took_s) if came else (0.0, float("inf"))
    pushes_ms = [
        (told.approved[udid] - at) * 1000
        for udid, at in committed.items()
        if udid in told.approved and first <= at <= last
    ]
    if not pushes_ms:
        raise MeasureFailed("nobody was approved while the others came")
    heard = sum(udid in told.approved for udid in committed)
    share = approvals["cpu_s"] / approvals["took_s"] / (os.cpu_count() or 1)
    return Round(len(committed), pushes_ms, heard, came, cpu_s, share)


def _each(rounds: Sequence[Round], percent: int) -> tuple[float, ...]:
    return tuple(each.percentile(percent) for each in rounds)


def _told(rounds: Sequence[Round]) -> tuple[float, ...]:
    return tuple(each.told_percent for each in rounds)


def _note(rounds: Sequence[Round]) -> str:
    return f"the approvals took {max(each.share for each in rounds):.0%} of the machine"


@contextmanager
def _stage(place: Place) -> Iterator[Stage]:
    with ExitStack() as stack:
        running = stack.enter_context(gateways.running(place))
        yield Stage(
            place,
            QUICK if place.quick else FULL,
            running,
            stack.enter_context(crowd.of(place, 1)),
            stack.enter_context(crowd.of(place, 1)),
            stack.enter_context(dialogue.partner(place, "bench.approving", running.env)),
        )
