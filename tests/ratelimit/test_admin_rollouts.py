"""Roll-outs in the admin: begun by superusers, moved by actions, looked at by staff."""

import json

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts.models import User
from ratelimit import rollouts
from ratelimit.models import LimitRow, PolicyRow, Rollout
from ratelimit.rollouts import Figures, Refused

pytestmark = pytest.mark.django_db
LIST, ADD = "admin:ratelimit_rollout_changelist", "admin:ratelimit_rollout_add"


@pytest.fixture
def policy():
    row = PolicyRow.objects.create(name="test.create", wait_ms=1500)
    LimitRow.objects.create(policy=row, name="udid", quantity=5, window_s=300)
    return row


def begin(client, policy, draft='{"limits": {"udid": {"quantity": 3}}}', **form):
    given = {"policy": policy.pk, "draft": draft, "bound": 1, "least": 200, **form}
    return client.post(reverse(ADD), given)


def act(client, action, rollout):
    return client.post(reverse(LIST), {"action": action, "_selected_action": rollout.pk})


def test_it_is_begun_moved_and_given_up(admin_client, policy):
    assert begin(admin_client, policy, bound=2.5).status_code == 302
    rollout = Rollout.objects.get()
    assert (rollout.stage, rollout.bound) == ("shadow", 2.5)
    rollouts.note(rollout, Figures(90, 10))
    assert "10.00" in admin_client.get(reverse(LIST)).content.decode()
    act(admin_client, "advance", rollout)
    rollout.refresh_from_db()
    assert (rollout.stage, rollout.percent) == ("percentage", 10)
    act(admin_client, "abort", rollout)
    rollout.refresh_from_db()
    assert (rollout.stage, rollout.live) == ("aborted", None)
    answer = admin_client.post(
        reverse(LIST), {"action": "advance", "_selected_action": rollout.pk}, follow=True
    )
    assert "it has ended" in answer.content.decode()


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        ("{", "Enter a valid JSON."),
        (json.dumps({"limits": {"ip": {"quantity": 1}}}), "no such limit"),
        (json.dumps({"wait_ms": 1500}), "These numbers are in force."),
        (json.dumps([1]), "must be a table of numbers"),
    ],
)
def test_what_is_wrong_with_a_draft_is_told(admin_client, policy, draft, said):
    answer = begin(admin_client, policy, draft)
    assert said in answer.content.decode()
    assert not Rollout.objects.exists()


def test_a_second_one_is_refused(admin_client, policy):
    begin(admin_client, policy)
    assert "end it first" in begin(admin_client, policy).content.decode()


def test_one_that_was_begun_in_the_same_moment_is_told(admin_client, policy, monkeypatch):
    def outrun(*_, **__):
        raise Refused("already_running", "another roll-out goes on: end it first")

    monkeypatch.setattr(rollouts, "start", outrun)
    answer = begin(admin_client, policy)
    assert answer.url == reverse(LIST)


def test_staff_look_and_change_nothing(client, admin_client, policy):
    begin(admin_client, policy)
    rollout = Rollout.objects.get()
    staff = User.objects.create_user("clerk", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="ratelimit"))
    client.force_login(staff)
    assert client.get(reverse(LIST)).status_code == 200
    assert begin(client, policy).status_code == 403
    act(client, "abort", rollout)
    rollout.refresh_from_db()
    assert rollout.live
