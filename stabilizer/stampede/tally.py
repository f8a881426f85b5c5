"""What happened to the devices of a stampede, counted."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: The peak is that of so many seconds in a row: one second alone may be luck.
PEAK_S = 5


class Step(StrEnum):
    """The calls of a device, in the order in which it makes them."""

    CREATE = "create"
    #: From hello to `pending`, of those who listen; what they are told later is pushed.
    WAITING = "waiting"
    ASSOCIATE = "associate"
    PUSHED = "pushed"
    STATUS = "status"
    CREDENTIALS = "credentials"
    ACK = "ack"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, in seconds."""

    count: int
    mean: float
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, durations: Sequence[float]) -> "Spread":
        if not durations:
            return cls(0, 0, 0, 0, 0)
        ordered = sorted(durations)
        mean = sum(ordered) / len(ordered)
        p50, p95 = percentile(ordered, 50), percentile(ordered, 95)
        return cls(len(ordered), mean, p50, p95, ordered[-1])


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest of the `ordered` values that `percent` in a hundred do not exceed."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


class Tally:
    """Counts in the units of the report: devices, answers, refusals, errors. Times in seconds."""

    def __init__(self, devices: int, clock_zero: float = 0.0) -> None:
        self.devices = devices
        self.zero = clock_zero
        self.done = 0
        self.created = 0
        #: When a device got what it came for, and how long it had waited for that.
        self.served_at = array("d")
        self.waits = array("d")
        self.answers: dict[Step, array[float]] = {step: array("d") for step in Step}
        self.answered_at = array("d")
        self.refusals: dict[Step, Counter[int]] = {step: Counter() for step in Step}
        self.refused_at: dict[int, array[float]] = {429: array("d"), 503: array("d")}
        #: What the gateway said when it named a time to return: "bye draining", "error overloaded".
        self.put_off: Counter[str] = Counter()
        #: What broke on the way: "timeout", "refused", "lost"; and how long each such try lasted.
        self.transport: Counter[str] = Counter()
        self.broken = array("d")
        #: Why devices were not served: "late", or the step with status and code.
        self.failures: Counter[str] = Counter()

    @property
    def served(self) -> int:
        return len(self.waits)

    @property
    def served_percent(self) -> float:
        """Devices that got the right thing before their deadline, of all devices."""
        return 100 * self.served / self.devices

    @property
    def seed_success_percent(self) -> float:
        """The predecessor's figure: devices whose creation was answered with 201, of all."""
        return 100 * self.created / self.devices

    @property
    def everybody_served(self) -> bool:
        return self.served == self.devices

    @property
    def is_flawless(self) -> bool:
        """Everybody was served, and no connection timed out, was refused or broke on the way."""
        return self.everybody_served and not self.transport.total()

    @property
    def all_answers(self) -> list[float]:
        """How long the answers of all steps took; refusals are none."""
        return [took_s for answers in self.answers.values() for took_s in answers]

    @property
    def mean_try(self) -> float:
        """Seconds per try, answered or not: a time-out counts with all the time it cost."""
        return Spread.of([*self.all_answers, *self.broken]).mean

    @property
    def answered_percent(self) -> float:
        """Tries answered before the device gave up on them, of all tries that were not refused."""
        answers = len(self.all_answers)
        tries = answers + len(self.broken)
        return 100 * answers / tries if tries else 0.0

    @property
    def peak_per_second(self) -> float:
        """Answers per second in the `PEAK_S` seconds that had the most of them."""
        counts = Counter(int(seconds) for seconds in self.answered_at)
        starts = range(max(counts, default=0) + 1)
        return max(sum(counts[start + age] for age in range(PEAK_S)) for start in starts) / PEAK_S

    def answered(self, step: Step, took_s: float, now: float) -> None:
        self.answers[step].append(took_s)
        self.answered_at.append(now - self.zero)

    def refused(self, step: Step, status: int, now: float) -> None:
        self.refusals[step][status] += 1
        self.refused_at[status].append(now - self.zero)

    def broke(self, what: str, lasted_s: float) -> None:
        self.transport[what] += 1
        self.broken.append(lasted_s)

    def serve(self, arrived: float, now: float) -> None:
        self.served_at.append(now - self.zero)
        self.waits.append(now - arrived)

    def refusals_of(self, status: int) -> int:
        return sum(counter[status] for counter in self.refusals.values())
