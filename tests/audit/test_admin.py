"""People read the trail, and nobody changes it; a page costs the same at any size."""

import json
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

import audit
from accounts.models import Plan, Tenant, User
from audit import bounded, days
from audit.admin import events as pages
from audit.admin.reading import PAGE_ROWS
from audit.models import Event

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
    assert not [query for query in queries if "COUNT(" in query["sql"]]
    (sql,) = [query["sql"] for query in queries if "audit_event" in query["sql"]]
    assert f"LIMIT {PAGE_ROWS + 1}" in sql
    # The session, the person, and the bound around the one that reads the trail.
    assert len(queries) == (5 if connection.vendor == "mysql" else 3)


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
        ({"action": "no.such"}, 0),
        ({"before": "nonsense"}, PAGE_ROWS),
        ({"before": "0" * 32}, 0),
        ({"day": "2020-01-01"}, 0),
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


def test_an_event_is_found_by_an_action_that_nobody_registered(deliver, admin_client, settings):
    settings.AUDIT_STRICT = False
    audit.record("odd.one", subject="wanted")
    deliver()
    assert [event.subject for event in rows(admin_client, action="odd.one")] == ["wanted"]
    assert '<option value="odd.one" selected>' in text(admin_client, action="odd.one")


def test_a_day_may_be_read_from_one_minute_to_another(deliver, admin_client, clock):
    before = f"{days.today()}"
    clock.advance((24 - clock.now().hour) * 3600)
    day = str(days.today())
    for subject in ("first", "second", "third"):
        audit.record("gate.refused", subject=subject)
        clock.advance(7200)
    deliver()
    one, two = (f"{clock.after(-hours * 3600):%H:%M}" for hours in (5, 3))
    assert len(rows(admin_client, day=before)) == 0
    assert len(rows(admin_client, day=day)) == 3
    assert [event.subject for event in rows(admin_client, day=day, up_to=one)] == ["first"]
    assert [event.subject for event in rows(admin_client, day=day, since=two)] == ["third"]
    found = rows(admin_client, day=day, since=one, up_to=two)
    assert [event.subject for event in found] == ["second"]


def test_a_day_is_that_of_the_zone_whose_times_the_list_shows(events, admin_client):
    with timezone.override("Pacific/Kiritimati"):  # fourteen hours ahead
        event = Event.objects.latest("pk")
        shown = timezone.localtime(event.at)
        assert len(rows(admin_client, day=f"{shown:%Y-%m-%d}", since=f"{shown:%H:%M}")) > 0
        page = text(admin_client)
        assert "Day (Pacific/Kiritimati)" in page
        assert f"{shown:%Y-%m-%d %H:%M:%S}" in page


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"subject": "tv-7", "actor": "key:k"}, "Name a day as well"),
        ({"up_to": "12:00"}, "Name the day that the time is of."),
        ({"day": "yesterday"}, "Day (UTC): Enter a valid date."),
        ({"day": "0001-01-01"}, "Day (UTC): Ensure this value is greater"),
        ({"day": "9999-12-31"}, "Day (UTC): Ensure this value is less"),
        ({"subject": "x" * 201}, "Subject: Ensure this value has at most 200"),
    ],
)
def test_what_cannot_be_searched_for_is_told_and_finds_nothing(events, admin_client, query, said):
    assert rows(admin_client, **query) == []
    assert said in text(admin_client, **query)


def test_several_values_are_searched_for_within_a_day(events, admin_client):
    both = {"subject": "tv-7", "actor": "key:k"}
    assert len(rows(admin_client, day=str(days.today()), **both)) == 2


@pytest.fixture
def slow(monkeypatch) -> None:
    """The database ends whatever a page reads."""

    def timed_out(self: object, key: object) -> None:
        raise OperationalError(bounded._TIMED_OUT, "Query execution was interrupted")

    monkeypatch.setattr("django.db.models.query.QuerySet.__getitem__", timed_out)


MARIADB = pytest.mark.skipif("connection.vendor != 'mysql'", reason="MariaDB's own bound")


@MARIADB
def test_a_search_that_takes_too_long_is_told_and_is_no_error(events, admin_client, slow):
    assert "Not found in 5 s. Name a day" in text(admin_client, subject="tv-7")


@MARIADB
def test_a_file_that_takes_too_long_to_begin_is_told_and_not_begun(events, admin_client, slow):
    url = reverse("admin:audit_event_export", args=["csv"])
    answer = admin_client.get(url, {"subject": "tv-7"})
    assert answer.url == f"{reverse(LIST)}?subject=tv-7"
    assert "Not found in 5 s" in text(admin_client)


@MARIADB
def test_the_database_ends_a_statement_that_takes_too_long():
    with pytest.raises(bounded.TooLong), bounded.within(0.1), connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(5)")
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.max_statement_time = @@GLOBAL.max_statement_time")
        assert cursor.fetchone() == (1,)


@MARIADB
def test_what_else_goes_wrong_is_not_taken_for_slowness():
    with (
        pytest.raises(OperationalError) as raised,
        bounded.within(1),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT no_such_column FROM audit_event")
    assert raised.value.args[0] == 1054


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
    assert f"{event.number} of {days.today()}" in page


def test_an_event_whose_entry_was_overwritten_can_be_seen_and_taken(events, admin_client):
    event = Event.objects.get(subject="other")
    Event.objects.filter(pk=event.pk).update(entry="torn")
    page = admin_client.get(reverse("admin:audit_event_change", args=[event.pk])).content.decode()
    assert "The entry cannot be read: not JSON" in page
    taken = admin_client.get(reverse("admin:audit_event_export", args=["jsonl"]))
    (line,) = [
        each
        for each in map(json.loads, taken.getvalue().splitlines())
        if each["subject"] == "other"
    ]
    assert (line["entry"], line["detail"]) == ("torn", None)


def staff(tenant: Tenant | None) -> Client:
    person = User.objects.create_user("anna", password="x", is_staff=True, tenant=tenant)
    person.user_permissions.set(Permission.objects.filter(content_type__app_label="audit"))
    client = Client()
    client.force_login(person)
    return client


def test_staff_see_and_export_the_events_of_their_tenant_only(events, deliver):
    client = staff(Tenant.objects.create(slug="acme", plan=Plan.objects.create(name="any")))
    other = Event.objects.get(subject="other")
    assert {event.tenant for event in rows(client)} == {"acme"}
    assert rows(client, subject="other") == []
    # Django's admin answers so for what is not there.
    assert client.get(reverse("admin:audit_event_change", args=[other.pk])).status_code == 302
    exported = client.get(reverse("admin:audit_event_export", args=["jsonl"])).getvalue()
    assert {json.loads(line)["tenant"] for line in exported.splitlines()} == {"acme"}
    deliver()
    assert [event.tenant for event in rows(client, action="audit.exported")] == ["acme"]
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


def test_what_cannot_be_searched_for_is_no_file(events, admin_client, deliver):
    url = reverse("admin:audit_event_export", args=["csv"])
    answer = admin_client.get(url, {"subject": "tv-7", "actor": "key:k"}, follow=True)
    assert "Name a day as well" in answer.content.decode()
    deliver()
    assert not Event.objects.filter(action="audit.exported").exists()


def test_a_file_has_a_bound_that_the_page_tells(events, admin_client, monkeypatch):
    monkeypatch.setattr(pages, "EXPORTED", 7)
    monkeypatch.setattr(pages, "SENT_LINES", 3)
    monkeypatch.setattr(pages.Page, "exported", 7)
    page = text(admin_client)
    assert "at most, the oldest of those found: 7." in page
    assert "manage.py audit export" in page
    answer = admin_client.get(reverse("admin:audit_event_export", args=["csv"]))
    pieces = list(answer.streaming_content)
    assert [piece.count(b"\r\n") for piece in pieces] == [3, 3, 2]
