"""Whatever comes in whatever order: nobody who waits misses a change of their pairing."""

from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest

from pairing.device_code import DeviceCode
from pairing.models import State
from pairing.standing import Standing
from realtime.wait import Wait
from realtime.waiters import STRAYS, Waiters

DIGEST = "d" * 64


class Silent:
    """A wire on which nothing is said: these tests look at who would be told."""

    def tell(self, message: Any) -> None: ...

    def end(self, end: Any, retry_after_ms: int | None = None) -> None: ...


def a_wait(digest: str = DIGEST, resume: int = 0) -> Wait:
    return Wait(Silent(), DeviceCode(1, digest), "device-0000000001", resume=resume)


def standing(
    version: int, digest: str = DIGEST, pairing: UUID | None = None, state: State = State.PENDING
) -> Standing:
    return Standing(
        pairing or uuid4(), digest, "device-0000000001", "BCDF-GHJK", version, state, 60
    )


class Story:
    """One pairing, one gateway, and a device that comes; each method is one thing that happens.

    What is published arrives after its commit, what is read is what was committed then; everything
    else may come in any order.
    """

    def __init__(self) -> None:
        self.waiters = Waiters()
        self.pairing = uuid4()
        self.committed = 1
        self.published: list[int] = []
        self.read: Standing | None = None
        self.taken: list[str] = []
        self.wait = a_wait()

    def connect(self) -> None:
        self.waiters.join(self.wait)

    def take(self) -> None:
        self.taken += self.waiters.take_news(10) + self.waiters.take_newcomers(10)

    def query(self) -> None:
        if self.taken:
            self.read = standing(self.committed, pairing=self.pairing)

    def settle(self) -> None:
        if self.read is None:
            return
        taken, read, self.taken, self.read = self.taken, self.read, [], None
        for wait, stands in self.waiters.settle(taken, {DIGEST: read}, now=0):
            assert stands is not None
            wait.version = max(wait.version, stands.version)

    def approve(self) -> None:
        self.committed = 2
        self.published.append(2)

    def arrive(self) -> None:
        for version in self.published:
            self.waiters.hear(self.pairing, version)
        self.published = []

    def finish(self) -> None:
        """Everything that is under way comes to its end, as it does within a round."""
        self.query()
        self.settle()
        self.arrive()
        for _ in range(3):
            self.take()
            self.query()
            self.settle()


EVENTS = ("connect", "take", "query", "settle", "approve", "arrive")


@pytest.mark.parametrize("order", list(permutations(EVENTS)), ids=" ".join)
def test_an_approval_at_any_moment_reaches_the_device(order: tuple[str, ...]) -> None:
    story = Story()
    for event in order:
        getattr(story, event)()
    if "connect" in order:
        story.finish()
    assert story.wait.version == 2


@pytest.mark.parametrize("order", list(permutations(("approve", "arrive", "settle"))))
@pytest.mark.parametrize("at", range(4))
def test_nor_is_one_missed_by_a_second_device_of_a_pairing_that_is_known(
    order: tuple[str, ...], at: int
) -> None:
    story = Story()
    for event in ("connect", "take", "query", "settle"):
        getattr(story, event)()
    second = a_wait()
    steps = [*order]
    steps.insert(at, "second")
    for event in steps:
        if event == "second":
            story.waiters.join(second)
            story.take()
            story.query()
        else:
            getattr(story, event)()
    story.finish()
    assert (story.wait.version, second.version) == (2, 2)


def test_a_change_that_was_read_already_is_not_read_again() -> None:
    waiters, pairing = Waiters(), uuid4()
    waiters.join(a_wait())
    taken = waiters.take_newcomers(10)
    waiters.hear(pairing, 2)
    waiters.settle(taken, {DIGEST: standing(2, pairing=pairing)}, now=0)
    assert not waiters.has_news


def test_a_repeated_or_older_message_is_harmless() -> None:
    waiters, pairing, wait = Waiters(), uuid4(), a_wait()
    waiters.join(wait)
    waiters.settle(waiters.take_newcomers(1), {DIGEST: standing(3, pairing=pairing)}, now=0)
    wait.version = 3
    for version in (3, 2, 1, 3):
        waiters.hear(pairing, version)
    assert not waiters.has_news


def test_a_pairing_is_read_by_one_query_at_a_time() -> None:
    waiters, pairing = Waiters(), uuid4()
    waiters.join(a_wait())
    waiters.settle(waiters.take_newcomers(1), {DIGEST: standing(1, pairing=pairing)}, now=0)
    waiters.hear(pairing, 2)
    assert waiters.take_news(10) == [DIGEST]
    waiters.hear(pairing, 3)
    assert waiters.take_news(10) == []
    waiters.settle([DIGEST], {DIGEST: standing(2, pairing=pairing)}, now=0)
    assert waiters.take_news(10) == [DIGEST]


def test_what_could_not_be_read_is_read_later() -> None:
    waiters = Waiters()
    waiters.join(a_wait())
    taken = waiters.take_newcomers(1)
    waiters.give_back(taken)
    assert waiters.take_newcomers(1) == taken


def test_who_has_left_is_not_read_and_not_told() -> None:
    waiters, wait, pairing = Waiters(), a_wait(), uuid4()
    waiters.join(wait)
    taken = waiters.take_newcomers(1)
    waiters.leave(wait)
    waiters.leave(wait)
    assert waiters.settle(taken, {DIGEST: standing(1, pairing=pairing)}, now=0) == []
    waiters.hear(pairing, 2)
    waiters.look_at(DIGEST)
    assert (waiters.count, waiters.backlog, list(waiters)) == (0, 0, [])


def test_a_pairing_that_does_not_exist_is_told_as_such() -> None:
    waiters, wait = Waiters(), a_wait()
    waiters.join(wait)
    assert waiters.settle(waiters.take_newcomers(1), {}, now=0) == [(wait, None)]


def test_those_looked_at_longest_ago_are_looked_at_again_first() -> None:
    waiters = Waiters()
    for number in range(3):
        digest = f"{number}" * 64
        waiters.join(a_wait(digest))
        waiters.settle(waiters.take_newcomers(1), {digest: standing(1, digest)}, now=number)
    waiters.look_again(read_before=2)
    assert waiters.take_newcomers(10) == ["0" * 64, "1" * 64]


def test_after_a_gap_everybody_is_looked_at_in_batches() -> None:
    waiters = Waiters()
    for number in range(500):
        digest = f"{number:064d}"
        waiters.join(a_wait(digest))
        waiters.settle(waiters.take_newcomers(1), {digest: standing(1, digest)}, now=0)
    waiters.look_at_all()
    sizes = []
    while taken := waiters.take_newcomers(200):
        sizes.append(len(taken))
        waiters.settle(taken, {each: standing(1, each) for each in taken}, now=1)
    assert sizes == [200, 200, 100]


def test_messages_of_others_are_remembered_only_while_something_is_read_and_only_so_many() -> None:
    waiters = Waiters()
    waiters.hear(uuid4(), 2)
    assert not waiters._strays
    waiters.join(a_wait())
    taken = waiters.take_newcomers(1)
    for _ in range(STRAYS + 50):
        waiters.hear(uuid4(), 2)
    assert len(waiters._strays) == STRAYS
    waiters.settle(taken, {DIGEST: standing(1)}, now=0)
    assert not waiters._strays
