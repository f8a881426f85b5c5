"""The days' chains and the legal holds in the admin."""

import pytest
from django.test import Client
from django.urls import reverse

import audit
from audit import outbox
from audit.models import Day, Event, Hold

pytestmark = pytest.mark.django_db(transaction=True)
SAID = {"first_day": "2026-01-01", "last_day": "2026-01-31", "reason": "c", "owner": "court"}


def release(client: Client, hold: Hold) -> str:
    chosen = {"action": "release", "_selected_action": [str(hold.pk)]}
    url = reverse("admin:audit_hold_changelist")
    return client.post(url, chosen, follow=True).content.decode()


def test_the_days_show_how_far_their_chains_have_come(deliver, admin_client):
    audit.record("gate.refused")
    deliver()
    day = Day.objects.get()
    page = admin_client.get(reverse("admin:audit_day_changelist")).content.decode()
    assert day.hash[:16] in page
    one = reverse("admin:audit_day_change", args=[day.pk])
    assert day.hash in admin_client.get(one).content.decode()
    assert admin_client.post(one, {"height": "0"}).status_code == 403
    assert admin_client.get(reverse("admin:audit_day_add")).status_code == 403


def test_a_legal_hold_is_placed_and_released_but_never_edited(admin_client, admin_user):
    admin_client.post(reverse("admin:audit_hold_add"), SAID)
    hold = Hold.objects.get()
    change = reverse("admin:audit_hold_change", args=[hold.pk])
    assert "court" in admin_client.get(change).content.decode()
    assert admin_client.post(change, {**SAID, "reason": "x"}).status_code == 403
    delete = reverse("admin:audit_hold_delete", args=[hold.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert "1 released" in release(admin_client, hold)
    assert "0 released" in release(admin_client, hold)
    hold.refresh_from_db()
    assert (hold.reason, hold.released_at is not None) == ("c", True)
    outbox.move()
    events = Event.objects.filter(subject=f"hold:{hold.pk}").order_by("pk")
    assert [(event.action, event.actor) for event in events] == [
        ("audit.hold_placed", f"person:{admin_user.pk}"),
        ("audit.hold_released", f"person:{admin_user.pk}"),
    ]


def test_a_hold_that_ends_before_it_begins_is_refused(admin_client):
    said = {**SAID, "first_day": "2026-02-01"}
    answer = admin_client.post(reverse("admin:audit_hold_add"), said)
    assert answer.status_code == 200
    assert not Hold.objects.exists()
