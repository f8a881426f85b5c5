"""A changed policy that refuses too many is taken back by itself, once, with its figures."""

import asyncio

import pytest

from audit import outbox
from audit.models import Event
from ratelimit import draft, rollouts
from ratelimit.models import Rollout
from ratelimit.rollouts import Figures
from stabilizer.gate import policy
from stabilizer.ops import watch
from stabilizer.ops.watch import Watch
from tests.hand_clock import HandClock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rollout():
    (plan,) = draft.read({"pairing.create": {"limits": {"udid": {"quantity": 2}}}})
    begun = rollouts.start(plan, actor="person:1", bound=2.0, least=50)
    policy.table.reload()
    yield begun
    policy.table.swap(policy.DEFAULTS)


def counts(rollout, admitted, refused):
    return {
        ("trial", rollout.trial, "admitted"): admitted,
        ("trial", rollout.trial, "refused"): refused,
    }


@pytest.mark.parametrize(
    ("admitted", "refused", "missed"),
    [(0, 0, False), (0, 49, False), (49, 1, False), (48, 2, True), (0, 50, True), (980, 20, False)],
)
def test_it_is_judged_by_its_bound_once_there_are_enough(rollout, admitted, refused, missed):
    assert watch.misses(rollout, Figures(admitted, refused)) == missed


async def test_it_is_taken_back_once(rollout):
    looking = Watch()
    for _ in range(3):
        looking.look(counts(rollout, 40, 10))
        await looking.stop()
    await asyncio.to_thread(outbox.move)
    events = [event async for event in Event.objects.filter(action="policy.rollout_withdrawn")]
    assert [(event.actor, event.detail["refused"]) for event in events] == [("system:rollouts", 10)]
    assert (await Rollout.objects.aget(pk=rollout.pk)).stage == "withdrawn"


async def test_what_was_counted_in_another_step_is_not_held_against_it(rollout):
    looking = Watch()
    looking.look({("trial", "pairing.create:1.999", "refused"): 1000})
    await looking.stop()
    assert (await Rollout.objects.aget(pk=rollout.pk)).live


async def test_what_is_counted_is_kept_for_people_now_and_then(rollout):
    hand = HandClock()
    looking = Watch(hand)
    for _ in range(2):
        looking.look(counts(rollout, 99, 1))
        await looking.stop()
        hand.now += watch.NOTE_EVERY_S
    kept = await Rollout.objects.aget(pk=rollout.pk)
    assert (kept.admitted, kept.refused) == (99, 1)


async def test_a_database_that_is_away_is_asked_again(rollout, monkeypatch, caplog):
    def away(*_):
        raise ConnectionError("no database")

    looking = Watch()
    with monkeypatch.context() as patched:
        patched.setattr(rollouts, "withdraw", away)
        looking.look(counts(rollout, 0, 50))
        await looking.stop()
    assert "could not be attended to" in caplog.text
    looking.look(counts(rollout, 0, 50))
    await looking.stop()
    assert (await Rollout.objects.aget(pk=rollout.pk)).stage == "withdrawn"
