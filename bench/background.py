"""What a stampede feels of a backlog of background tasks, and what becomes of the backlog.

A second worker beside the product's own has the backlog, handed over in the moment in which
everybody arrives. Its tasks yield, or are plain ones of Celery, or no such worker is there at all.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from bench import dialogue, product_processes
from bench.chores import PLAIN, QUEUE, READY, YIELDING
from bench.dialogue import Partner
from bench.place import Place
from bench.product_processes import DEADLINE_S, Service
from bench.rounds import in_turn
from bench.row import Row, at_least, at_most
from bench.stampede import load
from bench.stampede.usage import Usage
from dev import children
from dev.children import Child
from dev.environment import ROOT

ROUNDS = 3
WORKER = ("celery", "-A", "bench.worker", "worker", "-Q", QUEUE, "--concurrency", "1")
#: Nobody at work on the backlog.
ALONE = ""
SAMPLE_S = 0.1
#: The longest pause of a task that was put back is 60 s.
CATCH_UP_S = 180
PATIENCE_S = 20


class Size(NamedTuple):
    """How many come, and how many tasks wait then."""

    devices: int
    tasks: int


FULL, QUICK = Size(600, 200), Size(100, 40)


class Sample(NamedTuple):
    """What was so at a moment: whether the product would yield, and counts until then."""

    at: float
    pressed: bool
    begun: int
    done: int
    left: int
    yields: int


@dataclass(frozen=True)
class Round:
    """One stampede, and the backlog until it was done."""

    report: dict[str, Any]
    #: Of the worker with the backlog, from the arrival to the last device.
    cpu_s: float
    #: From the arrival to the last device.
    during: Sequence[Sample]
    ended: float
    #: From then on until nothing was left; nobody looks where there is no worker.
    after: Sequence[Sample]
    tasks: int
    #: How often each task has run that has.
    runs: Sequence[int]

    @property
    def took_s(self) -> float:
        return float(self.report["took_s"])

    @property
    def wait_s(self) -> float:
        """Until a device is served, on average."""
        return float(self.report["wait"]["mean"])

    @property
    def served_percent(self) -> float:
        return float(self.report["served_percent"])

    @property
    def yields(self) -> int:
        """Because of pressure, which is seen for some seconds after the last device too."""
        return self._all[-1].yields - self._all[0].yields

    @property
    def pressed_s(self) -> float:
        return sum(after.at - before.at for before, after in self._pressed())

    @property
    def begun_pressed(self) -> int:
        """Tasks that began between two moments of pressure."""
        return sum(after.begun - before.begun for before, after in self._pressed())

    @property
    def late_s(self) -> float:
        """From the last device to the last task; infinity where some were never done."""
        at = [sample.at for sample in self._all if sample.done >= self.tasks]
        return max(0.0, min(at, default=float("inf")) - self.ended)

    @property
    def _all(self) -> Sequence[Sample]:
        return [*self.during, *self.after]

    def _pressed(self) -> Iterator[tuple[Sample, Sample]]:
        return (pair for pair in pairwise(self.during) if all(each.pressed for each in pair))


@dataclass(frozen=True)
class Stage:
    """The service, and whoever hands tasks over and looks."""

    place: Place
    size: Size
    serving: Service
    backlog: Partner

    def round(self, task: str) -> Round:
        """A stampede, and a backlog of its own."""
        self.backlog.ask("forget")
        with worker(self.place, self.serving.env, task) as pids:
            self.serving.settle()
            with load.started(
                self.serving, devices=self.size.devices, deadline_s=DEADLINE_S
            ) as crowd:
                crowd.wait_until_prepared()
                began, before = time.monotonic(), Usage.of(pids, None)
                samples = [self._sample()]
                # Where nobody takes them they are handed over as well, which is not for nothing.
                self.backlog.ask("publish", task=task or YIELDING, count=self.size.tasks)
                samples += self._samples(lambda _: crowd.is_over)
                cpu_s = Usage.of(pids, None).since(before).cpu_s
                report = crowd.report()
            # The load process takes a moment to end.
            ended = began + report["took_s"]
            samples += self._until_nothing_is_left() if task else []
            runs = self.backlog.ask("runs")
        during = [sample for sample in samples if sample.at <= ended]
        after = samples[len(during) :]
        return Round(report, cpu_s, during, ended, after, self.size.tasks, runs)

    def _until_nothing_is_left(self) -> Iterator[Sample]:
        """What is left when all were done would run a second time."""
        deadline = time.monotonic() + CATCH_UP_S
        return self._samples(
            lambda sample: (
                (sample.done >= self.size.tasks and not sample.left) or sample.at > deadline
            )
        )

    def _samples(self, is_last: Callable[[Sample], bool]) -> Iterator[Sample]:
        while True:
            sample = self._sample()
            yield sample
            if is_last(sample):
                return
            time.sleep(SAMPLE_S)

    def _sample(self) -> Sample:
        return Sample(at=time.monotonic(), **self.backlog.ask("seen"))


def rows(place: Place) -> Iterator[Row]:
    """The first stampede of all only warms up."""
    size = QUICK if place.quick else FULL
    with _stage(place, size) as stage:
        stage.serving.stampede(size.devices)
        ways = {task: partial(stage.round, task) for task in (YIELDING, ALONE, PLAIN)}
        rounds = in_turn(1 if place.quick else ROUNDS, ways)
    yield from yielded(size, rounds[YIELDING], rounds[PLAIN])
    yield from caught_up(size, rounds[YIELDING])
    yield from felt(size, rounds)


def yielded(size: Size, ours: Sequence[Round], plain: Sequence[Round]) -> Iterator[Row]:
    """The tasks, while requests wait."""
    what = f"{size.tasks} tasks beside a stampede of {size.devices}"
    pressed_s, took_s = (sum(getattr(each, of) for each in ours) for of in ("pressed_s", "took_s"))
    gaps = sum(each.during[-1].begun - each.begun_pressed for each in ours)
    note = (
        f"beside a worker that yields there was pressure for {pressed_s:.1f} s of {took_s:.1f} s, "
        f"and {gaps} tasks began in the rest"
    )
    yields = tuple(float(each.yields) for each in ours)
    yield Row(f"{what}: put back because of pressure", "times", yields, goal=at_least(1), note=note)
    yield Row(
        f"{what}: begun under pressure, to plain ones",
        "tasks",
        tuple(float(each.begun_pressed) for each in ours),
        tuple(float(each.begun_pressed) for each in plain),
        at_most(0.1),
    )
    yield Row(
        f"{what}: CPU of their worker meanwhile, to plain ones",
        "s of CPU",
        tuple(each.cpu_s for each in ours),
        tuple(each.cpu_s for each in plain),
    )


def caught_up(size: Size, ours: Sequence[Round]) -> Iterator[Row]:
    """The tasks, afterwards."""
    ran = tuple(float(len(each.runs)) for each in ours)
    all_of_them = (float(size.tasks),) * len(ours)
    yield Row("tasks that ran in the end, to all", "tasks", ran, all_of_them, at_least(1))
    again = tuple(float(sum(each.runs) - len(each.runs)) for each in ours)
    yield Row("runs of tasks that had run before", "runs", again, goal=at_most(0))
    late_s = tuple(each.late_s for each in ours)
    yield Row("from the last device to the last task", "s", late_s, goal=at_most(60))


def felt(size: Size, rounds: dict[str, tuple[Round, ...]]) -> Iterator[Row]:
    """The devices, beside such workers and without."""
    alone = rounds[ALONE]
    served = {task: min(each.served_percent for each in of) for task, of in rounds.items()}
    note = (
        f"served within {DEADLINE_S} s at least {served[YIELDING]:g} % beside tasks that yield, "
        f"{served[PLAIN]:g} % beside plain ones, {served[ALONE]:g} % without"
    )
    for task, title, goal in (
        (YIELDING, "tasks that yield", at_most(1.15)),
        (PLAIN, "plain tasks", None),
    ):
        what = f"stampede of {size.devices} beside {title}, to without"
        beside = rounds[task]
        took_s = tuple(each.took_s for each in beside)
        yield Row(f"{what}: took", "s", took_s, tuple(each.took_s for each in alone), goal, note)
        wait_s = tuple(each.wait_s for each in beside)
        mean = f"{what}: mean until served"
        yield Row(mean, "s", wait_s, tuple(each.wait_s for each in alone), goal)
    percent = tuple(each.served_percent for each in rounds[YIELDING])
    yield Row(f"stampede of {size.devices}: served", "%", percent, goal=at_least(100))


@contextmanager
def _stage(place: Place, size: Size) -> Iterator[Stage]:
    env = {**place.env, "DJANGO_SETTINGS_MODULE": "stabilizer.settings"}
    with (
        product_processes.running(place, env) as serving,
        dialogue.partner(place, "bench.backlog", serving.env) as backlog,
    ):
        yield Stage(place, size, serving, backlog)


@contextmanager
def worker(place: Place, env: Mapping[str, str], task: str) -> Iterator[Sequence[int]]:
    """The process that has the backlog, if any; it has ended after the block."""
    started: list[Child] = []
    try:
        if task:
            log = place.directory / f"{task}-{time.monotonic_ns()}.log"
            command = [sys.executable, "-m", *WORKER]
            started.append(children.start(task, command, log, env=env, cwd=ROOT))
            product_processes.until_said(started[0], READY)
        yield [child.pid for child in started]
    finally:
        children.stop(started, PATIENCE_S)
