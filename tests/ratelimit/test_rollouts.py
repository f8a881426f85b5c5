"""A roll-out moves step by step, once each, with its record; its numbers are in force at last."""

import pytest

from audit import outbox
from audit.models import Event
from ratelimit import draft, revision, rollouts
from ratelimit.draft import BadDraft
from ratelimit.models import LimitRow, PolicyRow, Rollout
from ratelimit.rollouts import Figures, Refused, Stage

pytestmark = pytest.mark.django_db


@pytest.fixture
def policy():
    row = PolicyRow.objects.create(name="test.create", wait_ms=1500)
    LimitRow.objects.create(policy=row, name="udid", quantity=5, window_s=300)
    return row


@pytest.fixture
def begun(policy):
    return rollouts.start(plan(), actor="person:1", bound=2.0)


def plan(**changes):
    given = changes or {"wait_ms": 9, "limits": {"udid": {"quantity": 3}}}
    return draft.read({"test.create": given})[0]


def told():
    outbox.move()
    return [
        (event.action, event.actor, event.detail["stage"])
        for event in Event.objects.filter(action__startswith="policy.rollout").order_by("pk")
    ]


def test_it_goes_through_all_stages_and_the_numbers_are_changed_last(begun, policy):
    seen = []
    while begun.live:
        seen.append((begun.stage, begun.percent))
        assert policy.limits.get().quantity == 5
        rollouts.advance(begun, actor="person:2")
    assert seen == [("shadow", 0), ("percentage", 10), ("percentage", 50), ("all", 100)]
    policy.refresh_from_db()
    assert (policy.wait_ms, policy.limits.get().quantity, begun.stage) == (9, 3, Stage.DONE)
    stages = [stage for _, _, stage in told()]
    assert stages == ["shadow", "percentage", "percentage", "all", "done"]
    changed = Event.objects.get(action="policy.changed")
    assert changed.detail == {"wait_ms": [1500, 9], "udid.quantity": [5, 3]}


def test_each_move_makes_every_process_read_again(policy):
    numbers = [revision.current()]
    begun = rollouts.start(plan(), actor="person:1")
    numbers.append(revision.current())
    rollouts.advance(begun, actor="person:1")
    numbers.append(revision.current())
    rollouts.abort(begun, actor="person:1")
    numbers.append(revision.current())
    assert numbers == [numbers[0] + step for step in range(4)]


def test_of_two_who_move_it_at_once_one_does(begun):
    same = Rollout.objects.get(pk=begun.pk)
    rollouts.advance(begun, actor="person:1")
    with pytest.raises(Refused) as raised:
        rollouts.advance(same, actor="person:2")
    assert raised.value.code == "not_running"
    assert [actor for _, actor, _ in told()] == ["person:1", "person:1"]


def test_one_goes_on_at_a_time(begun):
    with pytest.raises(Refused) as raised:
        rollouts.start(plan(), actor="person:1")
    assert raised.value.code == "already_running"
    rollouts.abort(begun, actor="person:1", why="wrong")
    assert rollouts.live() is None
    assert rollouts.start(plan(), actor="person:1").live


def test_what_changes_nothing_is_not_begun(policy):
    with pytest.raises(BadDraft) as raised:
        rollouts.start(plan(wait_ms=1500), actor="person:1")
    assert raised.value.code == "nothing_changes"


def test_a_percentage_only_grows(begun):
    rollouts.advance(begun, actor="person:1", percent=30)
    for percent in (30, 29, 0, 100):
        with pytest.raises(Refused) as raised:
            rollouts.advance(begun, actor="person:1", percent=percent)
        assert raised.value.code == "bad_percent"
    rollouts.advance(begun, actor="person:1")
    assert begun.percent == 50


def test_what_was_counted_belongs_to_its_step(begun):
    first = begun.trial
    rollouts.note(begun, Figures(90, 10))
    begun.refresh_from_db()
    assert begun.share == 10
    rollouts.advance(begun, actor="person:1")
    begun.refresh_from_db()
    assert (begun.admitted, begun.refused) == (0, 0)
    assert begun.trial != first
    outbox.move()
    event = Event.objects.get(action="policy.rollout_advanced")
    assert (event.detail["admitted"], event.detail["refused"]) == (90, 10)


def test_it_is_taken_back_once_with_its_figures(begun):
    same = Rollout.objects.get(pk=begun.pk)
    assert rollouts.withdraw(begun, Figures(90, 10))
    assert not rollouts.withdraw(same, Figures(90, 10))
    assert rollouts.live() is None
    assert told()[1:] == [("policy.rollout_withdrawn", "system:rollouts", "withdrawn")]
    event = Event.objects.get(action="policy.rollout_withdrawn")
    assert (event.detail["left"], event.detail["refused"], event.detail["bound"]) == (
        "shadow",
        10,
        2.0,
    )
    assert "refused 10.0 %" in Rollout.objects.get().why
