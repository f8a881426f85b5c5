"""What the product promises of itself beside each of the others, and whether this run keeps it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.stampede.result import Result

OURS = "ours"
Figure = Callable[[Result], float]
MEMORY_BYTES = 300e6


@dataclass(frozen=True)
class Promise:
    """Our figure is at most `goal` times the rival's, in a run of `devices` or more."""

    what: str
    rival: str
    own: Figure
    goal: float
    #: Where it is not the same figure as our own.
    theirs: Figure | None = None
    devices: int = 1

    def verdict(self, ours: Result, rival: Result) -> "Verdict":
        return Verdict(self, self.own(ours), (self.theirs or self.own)(rival))


@dataclass(frozen=True)
class Verdict:
    promise: Promise
    own: float
    theirs: float

    @property
    def ratio(self) -> float | None:
        """`None` where the rival's figure is 0."""
        return self.own / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """`None` where both figures are 0."""
        if not (self.own or self.theirs):
            return None
        return self.own <= self.promise.goal * self.theirs

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "what": self.promise.what,
            "rival": self.promise.rival,
            "ours": self.own,
            "theirs": self.theirs,
            "ratio": self.ratio,
            "goal": self.promise.goal,
            "met": self.met,
        }


def _mean_try_s(result: Result) -> float:
    return result.mean_try_s


def _took_s(result: Result) -> float:
    return result.took_s


def _lock_wait_ms(result: Result) -> float:
    return result.usage.lock_wait_ms


def _unserved(result: Result) -> float:
    return float(result.load["devices"] - result.load["served"] + result.transport_errors)


def _late_percent(result: Result) -> float:
    return 100 - float(result.load["answered_percent"])


PROMISES = (
    Promise("devices not served, and errors", OURS, _unserved, 1, theirs=lambda _: 0),
    Promise("mean of all tries, s", "unprotected", _mean_try_s, 1 / 20),
    Promise("wait for row locks, ms", "unprotected", _lock_wait_ms, 1 / 100),
    Promise("CPU per served device, ms", "haproxy-wsgi", lambda each: each.cpu_ms_per_served, 1),
    Promise("time for everybody, s", "haproxy-wsgi", _took_s, 2 / 3, devices=5_000),
    Promise("time for everybody, s", "haproxy-ours", _took_s, 1.1),
    Promise("tries answered too late, %", "haproxy-ours", _late_percent, 1),
    Promise(
        "time, against calls / peak goodput, s",
        OURS,
        _took_s,
        1.25,
        theirs=lambda each: each.ideal_s,
        devices=10_000,
    ),
    Promise(
        "largest web process, MB",
        OURS,
        lambda each: each.peak_bytes / 1e6,
        1,
        theirs=lambda _: MEMORY_BYTES / 1e6,
        devices=10_000,
    ),
)


def verdicts(results: Mapping[str, Result]) -> list[Verdict]:
    """Of each promise whose two contestants ran, at this number of devices."""
    ours = results.get(OURS)
    if ours is None:
        return []
    return [
        promise.verdict(ours, results[promise.rival])
        for promise in PROMISES
        if promise.rival in results and ours.load["devices"] >= promise.devices
    ]
