"""People read the trail, and nobody changes it; a page costs the same at any size."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import audit
from accounts.models import Plan, Tenant, User
from audit import admin as pages
from audit import days, outbox
from audit.admin import PAGE_ROWS
from audit.models import Day, DeadLetter, Event, Hold
from tests.audit.test_deadletters import poison

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:audit_event_changelist"


@pytest.fixture
def events(deliver) -> None:
    for number in range(120):
        audit.record("gate.refused", subject=f"tv-{number % 60}", actor="key:k", tenant="acme")
    audit.record("pairing.created", subject="other", detail={"why": "<b>asked</b>"})
    deliver()


def rows(client: Client, **query: str) -> list[Event]:
    found: list[Event] = client.get(reverse(LIST), query).context["cl"].result_list
    return found


def text(client: Client, **query: str) -> str:
    return client.get(reverse(LIST), query).content.decode()


def test_a_page_has_fifty_rows_reads_one_more_and_counts_none(events, admin_client):
    admin_client.get(reverse(LIST))  # content types are read once per process
    with CaptureQueriesContext(connection) as queries:
        assert len(rows(admin_client)) == PAGE_ROWS
    (sql,) = [query["sql"] for query in queries if "audit_event" in query["sql"]]
    assert "COUNT(" not in sql
    assert f"LIMIT {PAGE_ROWS + 1}" in sql


def test_older_events_follow_page_by_page_until_there_are_none(events, admin_client):
    seen: list[UUID] = []
    query: dict[str, str] = {}
    while True:
        page = admin_client.get(reverse(LIST), query).context["cl"]
        seen += [event.pk for event in page.result_list]
        if not page.older:
            break
        assert f"before={page.older}" in page.older_query
        query = {"before": page.older}
    assert len(seen) == len(set(seen)) == 121
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"subject": "tv-7"}, 2),
        ({"subject": "tv-"}, 0),
        ({"actor": "key:k"}, PAGE_ROWS),
        ({"action": "pairing.created"}, 1),
        ({"action": "no.such"}, PAGE_ROWS),
        ({"before": "nonsense"}, PAGE_ROWS),
        ({"before": "0" * 32}, 0),
        ({"day": "2020-01-01"}, 0),
        ({"day": "yesterday"}, PAGE_ROWS),
    ],
)
def test_events_are_found_by_whole_values_and_by_their_day(events, admin_client, query, found):
    assert len(rows(admin_client, **query)) == found


def test_an_event_is_found_by_its_request_id(deliver, admin_client):
    with audit.context.bound(audit.context.RequestContext("a" * 32)):
        audit.record("gate.refused", subject="wanted")
    audit.record("gate.refused", subject="other")
    deliver()
    assert [event.subject for event in rows(admin_client, request_id="a" * 32)] == ["wanted"]


def test_a_day_may_be_read_up_to_a_minute(deliver, admin_client, clock):
    midnight = f"{days.today()}"
    clock.advance((24 - clock.now().hour) * 3600)
    day = str(days.today())
    audit.record("gate.refused", subject="first")
    clock.advance(7200)
    audit.record("gate.refused", subject="second")
    deliver()
    assert len(rows(admin_client, day=midnight)) == 0
    assert len(rows(admin_client, day=day)) == 2
    hour = f"{(clock.now() - timedelta(hours=1)):%H:%M}"
    assert [event.subject for event in rows(admin_client, day=day, up_to=hour)] == ["first"]


def test_several_values_are_searched_for_within_a_day_only(events, admin_client):
    both = {"subject": "tv-7", "actor": "key:k"}
    assert rows(admin_client, **both) == []
    assert "Name a day" in text(admin_client, **both)
    assert len(rows(admin_client, day=str(days.today()), **both)) == 2


def test_a_search_that_takes_too_long_is_told_and_is_no_error(events, admin_client, monkeypatch):
    def timed_out(self: object, key: object) -> None:
        raise OperationalError(pages._TIMED_OUT, "Query execution was interrupted")

    monkeypatch.setattr("django.db.models.query.QuerySet.__getitem__", timed_out)
    assert "Not found in 5 s" in text(admin_client, subject="tv-7")


@pytest.mark.skipif("connection.vendor != 'mysql'", reason="MariaDB's own bound")
def test_the_database_ends_a_statement_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(pages, "LONGEST_S", 0.1)
    with (
        pytest.raises(OperationalError) as raised,
        pages._bounded(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT SLEEP(5)")
    assert raised.value.args[0] == pages._TIMED_OUT
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.max_statement_time")
        assert float(cursor.fetchone()[0]) == 0


@pytest.mark.skipif("connection.vendor != 'mysql'", reason="MariaDB's own plan")
@pytest.mark.parametrize("name", ["subject", "actor", "action", "request_id", "tenant"])
def test_each_value_is_found_by_an_index_of_its_own(events, name):
    page = Event.objects.filter(**{name: "acme"}).order_by("-id")[:PAGE_ROWS]
    index = {"request_id": "request"}.get(name, name)
    assert f"audit_event_{index}" in page.explain()


def test_what_happened_is_said_in_words_of_the_readers_language(events, admin_client):
    assert "pairing asked for" in text(admin_client)
    admin_client.cookies["django_language"] = "es"
    assert "emparejamiento solicitado" in text(admin_client)


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


def test_an_event_shows_its_detail_and_its_link_in_the_chain(events, admin_client):
    event = Event.objects.get(subject="other")
    page = admin_client.get(reverse("admin:audit_event_change", args=[event.pk])).content.decode()
    assert "&lt;b&gt;asked" in page
    assert event.hash in page


def staff(tenant: Tenant | None) -> Client:
    person = User.objects.create_user("anna", password="x", is_staff=True, tenant=tenant)
    person.user_permissions.set(Permission.objects.filter(content_type__app_label="audit"))
    client = Client()
    client.force_login(person)
    return client


def test_staff_see_and_export_the_events_of_their_tenant_only(events):
    tenant = Tenant.objects.create(slug="acme", plan=Plan.objects.create(name="any"))
    client = staff(tenant)
    assert {event.tenant for event in rows(client)} == {"acme"}
    exported = client.get(reverse("admin:audit_event_export", args=["jsonl"])).getvalue()
    assert {json.loads(line)["tenant"] for line in exported.splitlines()} == {"acme"}
    for name in ("deadletter", "day", "hold"):
        assert client.get(reverse(f"admin:audit_{name}_changelist")).status_code == 403


def test_staff_of_no_tenant_see_and_export_nothing(events):
    client = staff(None)
    assert rows(client) == []
    assert client.get(reverse("admin:audit_event_export", args=["csv"])).status_code == 403


def test_what_is_listed_can_be_taken_as_a_file_and_that_is_recorded(
    events, admin_client, admin_user, deliver
):
    url = reverse("admin:audit_event_export", args=["jsonl"])
    answer = admin_client.get(url, {"subject": "tv-7"})
    lines = [json.loads(line) for line in answer.getvalue().splitlines()]
    assert [line["subject"] for line in lines] == ["tv-7", "tv-7"]
    assert "trail.jsonl" in answer["Content-Disposition"]
    deliver()
    event = Event.objects.get(action="audit.exported")
    assert event.actor == f"person:{admin_user.pk}"
    assert event.detail == {"subject": "tv-7", "format": "jsonl"}
    assert admin_client.get(url.replace("jsonl", "exe")).status_code == 403


def dead(entry: str = "x", **fields: str) -> DeadLetter:
    given = {"source": "spool/1", "producer": "p", "reason": "unreadable", "explanation": "why"}
    return DeadLetter.objects.create(entry=entry, **{**given, **fields})


def act(client: Client, model: str, action: str, *keys: int, **more: str) -> str:
    url = reverse(f"admin:audit_{model}_changelist")
    chosen = {"action": action, "_selected_action": [str(key) for key in keys], **more}
    return client.post(url, chosen, follow=True).content.decode()


def test_dead_letters_are_listed_with_their_reason(admin_client):
    dead(explanation="<b>torn</b>", reason="damaged")
    page = admin_client.get(reverse("admin:audit_deadletter_changelist")).content.decode()
    assert "&lt;b&gt;torn" in page


def test_dead_letters_are_stored_after_a_mend_and_stay_otherwise(admin_client, admin_user):
    good, bad = dead(poison(subject="mended")), dead("nonsense")
    assert "1 stored, 1 still dead" in act(admin_client, "deadletter", "replay", good.pk, bad.pk)
    assert list(DeadLetter.objects.values_list("pk", flat=True)) == [bad.pk]
    outbox.move()
    event = Event.objects.get(action="audit.letters_replayed")
    assert event.actor == f"person:{admin_user.pk}"


def test_dead_letters_are_dropped_by_somebody_who_says_why(admin_client):
    letter = dead()
    assert "Say why" in act(admin_client, "deadletter", "drop", letter.pk)
    assert DeadLetter.objects.exists()
    assert "1 dropped" in act(admin_client, "deadletter", "drop", letter.pk, why="theirs")
    assert not DeadLetter.objects.exists()


def test_the_days_show_how_far_their_chains_have_come(events, admin_client):
    day = Day.objects.get()
    page = admin_client.get(reverse("admin:audit_day_changelist")).content.decode()
    assert day.hash[:16] in page
    assert admin_client.get(reverse("admin:audit_day_add")).status_code == 403


def test_a_legal_hold_is_placed_and_released_but_never_edited(admin_client, admin_user):
    said = {"first_day": "2026-01-01", "last_day": "2026-01-31", "reason": "c", "owner": "court"}
    admin_client.post(reverse("admin:audit_hold_add"), said)
    hold = Hold.objects.get()
    change = reverse("admin:audit_hold_change", args=[hold.pk])
    assert admin_client.post(change, {**said, "reason": "x"}).status_code == 403
    act(admin_client, "hold", "release", hold.pk)
    hold.refresh_from_db()
    assert (hold.reason, hold.released_at is not None) == ("c", True)
    outbox.move()
    actors = Event.objects.filter(subject=f"hold:{hold.pk}").values_list("actor", flat=True)
    assert list(actors) == [f"person:{admin_user.pk}"] * 2


def test_a_hold_that_ends_before_it_begins_is_refused(admin_client):
    said = {"first_day": "2026-02-01", "last_day": "2026-01-31", "reason": "c", "owner": "court"}
    answer = admin_client.post(reverse("admin:audit_hold_add"), said)
    assert answer.status_code == 200
    assert not Hold.objects.exists()
