"""What an admin changes about limits is recorded with the change, and heard of everywhere."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from audit import outbox
from audit.models import Event, Outbox
from ratelimit import revision
from ratelimit.models import LimitRow, PolicyRow, SharedNetwork


@pytest.fixture
def policy(db: None) -> PolicyRow:
    policy = PolicyRow.objects.create(name="test.create", criticality="normal")
    LimitRow.objects.create(policy=policy, name="udid", quantity=5, window_s=300)
    return policy


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("admin"))
    return client


def form(policy: PolicyRow, **changes: Any) -> dict[str, Any]:
    limit = policy.limits.get()
    return {
        "criticality": policy.criticality,
        "weight": policy.weight,
        "wait_ms": policy.wait_ms,
        "store_away": policy.store_away,
        "limits-TOTAL_FORMS": 1,
        "limits-INITIAL_FORMS": 1,
        "limits-0-id": limit.pk,
        "limits-0-policy": policy.pk,
        "limits-0-quantity": limit.quantity,
        "limits-0-window_s": limit.window_s,
        **changes,
    }


def save(admin: Client, policy: PolicyRow, **changes: Any) -> int:
    url = reverse("admin:ratelimit_policyrow_change", args=[policy.pk])
    return admin.post(url, form(policy, **changes)).status_code


def test_a_changed_limit_is_saved_recorded_and_announced(admin: Client, policy: PolicyRow) -> None:
    before = revision.current()
    Outbox.objects.all().delete()
    assert save(admin, policy, **{"limits-0-quantity": 9, "criticality": "critical"}) == 302
    assert policy.limits.get().quantity == 9
    assert revision.current() == before + 1
    outbox.move()
    event = Event.objects.get(action="policy.changed")
    assert event.subject == "policy:test.create"
    assert event.actor.startswith("person:")
    assert event.detail == {"criticality": ["normal", "critical"], "udid.quantity": [5, 9]}


def test_saving_without_a_change_tells_nobody(admin: Client, policy: PolicyRow) -> None:
    before = revision.current()
    assert save(admin, policy) == 302
    assert revision.current() == before
    outbox.move()
    assert not Event.objects.filter(action="policy.changed").exists()


@pytest.mark.parametrize(
    "changes", [{"limits-0-quantity": 0}, {"limits-0-window_s": 0}, {"weight": 0}]
)
def test_numbers_that_limit_nothing_are_refused(
    admin: Client, policy: PolicyRow, changes: dict[str, int]
) -> None:
    assert save(admin, policy, **changes) == 200
    assert policy.limits.get().quantity == 5


def test_policies_are_neither_added_nor_deleted(admin: Client, policy: PolicyRow) -> None:
    assert admin.get(reverse("admin:ratelimit_policyrow_add")).status_code == 403
    url = reverse("admin:ratelimit_policyrow_delete", args=[policy.pk])
    assert admin.post(url, {"post": "yes"}).status_code == 403


def test_the_list_of_policies_needs_as_many_queries_for_many_as_for_one(
    admin: Client, policy: PolicyRow
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(reverse("admin:ratelimit_policyrow_changelist")).status_code == 200
        return len(captured)

    few = queries()
    for number in range(20):
        another = PolicyRow.objects.create(name=f"test.{number}")
        LimitRow.objects.create(policy=another, name="udid", quantity=1, window_s=1)
    assert queries() == few


def list_network(admin: Client, **values: Any) -> int:
    url = reverse("admin:ratelimit_sharednetwork_add")
    return admin.post(url, {"network": "100.64.0.0/10", "stands_for": 200, **values}).status_code


def test_a_network_is_listed_recorded_and_announced(admin: Client) -> None:
    before = revision.current()
    Outbox.objects.all().delete()
    assert list_network(admin, note="CGNAT of a carrier") == 302
    assert revision.current() == before + 1
    outbox.move()
    event = Event.objects.get(action="network.changed")
    assert event.subject == "network:100.64.0.0/10"
    assert event.detail["stands_for"] == [None, 200]


@pytest.mark.parametrize("network", ["100.64.0.1/10", "carrier", "100.64.0.0/33", ""])
def test_what_is_no_network_is_not_listed(admin: Client, network: str) -> None:
    assert list_network(admin, network=network) == 200
    assert not SharedNetwork.objects.exists()


def test_a_network_is_listed_once_however_it_is_spelled(admin: Client) -> None:
    assert list_network(admin, network="2001:DB8:0::/48") == 302
    assert list_network(admin, network="2001:db8::/48") == 200
    assert SharedNetwork.objects.get().network == "2001:db8::/48"


def test_a_network_taken_off_the_list_is_recorded_and_announced(admin: Client) -> None:
    network = SharedNetwork.objects.create(network="100.64.0.0/10")
    before = revision.current()
    url = reverse("admin:ratelimit_sharednetwork_changelist")
    data = {"action": "delete_selected", "_selected_action": network.pk, "post": "yes"}
    assert admin.post(url, data).status_code == 302
    assert not SharedNetwork.objects.exists()
    assert revision.current() == before + 1


def test_staff_who_are_no_superusers_list_no_networks(client: Client, db: None) -> None:
    staff = User.objects.create_user("clerk", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__endswith="sharednetwork"))
    client.force_login(staff)
    assert list_network(client) == 403
    assert client.get(reverse("admin:ratelimit_sharednetwork_changelist")).status_code == 200
