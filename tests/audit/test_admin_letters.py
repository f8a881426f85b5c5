"""Dead letters in the admin: looked at, tried again, or given up by somebody who says why."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import outbox
from audit.models import DeadLetter, Event
from tests.audit.test_deadletters import poison

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:audit_deadletter_changelist"


def dead(entry: str = "x", **fields: str) -> DeadLetter:
    given = {"source": "spool/1", "producer": "p", "reason": "unreadable", "explanation": "why"}
    return DeadLetter.objects.create(entry=entry, **{**given, **fields})


def act(client: Client, action: str, *letters: DeadLetter, **more: Any) -> str:
    chosen = {"action": action, "_selected_action": [str(letter.pk) for letter in letters], **more}
    return client.post(reverse(LIST), chosen, follow=True).content.decode()


def shown(client: Client, **query: str) -> list[DeadLetter]:
    return list(client.get(reverse(LIST), query).context["cl"].result_list)


def test_letters_are_listed_with_their_reason(admin_client):
    dead(explanation="<b>torn</b>", reason="damaged")
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "&lt;b&gt;torn" in page
    assert "Damaged" in page


def test_letters_are_found_by_their_reason_and_by_a_whole_source(admin_client):
    late, damaged = dead(reason="late"), dead(reason="damaged", source="spool/12")
    assert shown(admin_client, reason__exact="late") == [late]
    assert shown(admin_client, q="spool/12") == [damaged]
    assert shown(admin_client, q="spool") == []


def test_the_list_counts_no_letters(admin_client):
    dead()
    admin_client.get(reverse(LIST))  # content types are read once per process
    with CaptureQueriesContext(connection) as queries:
        assert len(shown(admin_client, _facets="True")) == 1
    assert not [query for query in queries if "COUNT(" in query["sql"]]
    # The session, the person, the keys of the first pages, and a page.
    assert len(queries) == 4


def test_letters_are_stored_after_a_mend_and_stay_otherwise(admin_client, admin_user):
    good, bad = dead(poison(subject="mended")), dead("nonsense")
    assert "1 stored, 1 still dead" in act(admin_client, "replay", good, bad)
    assert list(DeadLetter.objects.values_list("pk", flat=True)) == [bad.pk]
    outbox.move()
    event = Event.objects.get(action="audit.letters_replayed")
    assert event.actor == f"person:{admin_user.pk}"


def test_letters_are_dropped_by_somebody_who_says_why(admin_client, admin_user):
    letter, other = dead(), dead(reason="late")
    page = act(admin_client, "drop", letter)
    assert "Dead letters to be dropped for good: 1" in page
    assert "Unreadable: 1" in page
    assert "This field is required" in act(admin_client, "drop", letter, newest=letter.pk)
    assert DeadLetter.objects.count() == 2
    said = {"newest": letter.pk, "why": "theirs"}
    assert "1 dropped" in act(admin_client, "drop", letter, **said)
    assert DeadLetter.objects.get() == other
    outbox.move()
    event = Event.objects.get(action="audit.letters_dropped")
    assert (event.actor, event.detail["why"]) == (f"person:{admin_user.pk}", "theirs")


def test_a_letter_that_came_after_the_question_is_not_dropped(admin_client):
    first, last = dead(), dead()
    asked = act(admin_client, "drop", first, select_across="1")
    assert f'name="newest" value="{last.pk}"' in asked
    assert 'name="select_across" value="1"' in asked
    late = dead()
    said = {"newest": last.pk, "why": "theirs", "select_across": "1"}
    assert "2 dropped" in act(admin_client, "drop", first, **said)
    assert DeadLetter.objects.get() == late


def test_a_letter_is_shown_and_cannot_be_changed(admin_client):
    letter = dead("what came")
    url = reverse("admin:audit_deadletter_change", args=[letter.pk])
    assert "what came" in admin_client.get(url).content.decode()
    assert admin_client.post(url, {"entry": "forged"}).status_code == 403
    assert admin_client.get(reverse("admin:audit_deadletter_add")).status_code == 403
