import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import audit
from audit.admin import PAGE_ROWS, PAGES
from audit.models import DeadLetter, Event

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:audit_event_changelist"


@pytest.fixture
def events(deliver) -> None:
    for number in range(120):
        audit.record("gate.refused", subject=f"tv-{number % 60}", actor="key:k")
    audit.record("pairing.created", subject="other")
    deliver()


def rows(client: Client, **query: str) -> int:
    return len(client.get(reverse(LIST), query).context["cl"].result_list)


def test_a_page_has_fifty_rows_and_counts_none(events, admin_client):
    admin_client.get(reverse(LIST))  # content types are read once per process
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert rows(admin_client) == PAGE_ROWS
    on_the_trail = [query["sql"] for query in queries if "audit_event" in query["sql"]]
    assert len(on_the_trail) == 2
    assert not any("COUNT(" in sql for sql in on_the_trail)
    assert all("LIMIT" in sql for sql in on_the_trail)


def test_its_cost_does_not_grow_with_the_trail(events, admin_client):
    assert str(PAGE_ROWS * PAGES) in _page_queries(admin_client)[0]


def _page_queries(client: Client) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        rows(client)
    return [query["sql"] for query in queries if "audit_event" in query["sql"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "tv-7"}, 2),
        ({"q": "tv-"}, 0),
        ({"q": "pairing.created"}, 1),
        ({"action": "pairing.created"}, 1),
        ({"p": "3"}, 21),
    ],
)
def test_events_are_found_by_whole_values(events, admin_client, query, found):
    assert rows(admin_client, **query) == found


@pytest.mark.skipif(connection.vendor != "mysql", reason="MariaDB's own plan")
def test_the_events_of_a_tenant_are_read_from_their_index(events):
    page = Event.objects.filter(tenant="acme").order_by("-id")[:PAGE_ROWS]
    assert "audit_event_tenant" in page.explain()


def test_an_event_is_shown_and_cannot_be_changed(events, admin_client):
    event = Event.objects.first()
    assert event is not None
    url = reverse("admin:audit_event_change", args=[event.pk])
    assert event.subject in admin_client.get(url).content.decode()
    assert admin_client.post(url, {"subject": "forged"}).status_code == 403
    delete = reverse("admin:audit_event_delete", args=[event.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert admin_client.get(reverse("admin:audit_event_add")).status_code == 403
    assert Event.objects.filter(pk=event.pk, subject=event.subject).exists()


def test_dead_letters_are_listed_with_their_reason(admin_client):
    DeadLetter.objects.create(source="spool/1", producer="p", reason="<b>torn</b>", entry="x")
    page = admin_client.get(reverse("admin:audit_deadletter_changelist")).content.decode()
    assert "&lt;b&gt;torn" in page
