"""How MariaDB finds what the admin and the export ask for: by an index, in the days that count.

The statements are those that the pages really send. A plan that reads more rows than it shows would
take longer the more events there are.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Plan, Tenant, User
from audit import days, export, partitions
from audit.admin.reading import PAGE_ROWS
from audit.models import Event
from audit.search import Search
from tests.audit import rows

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'mysql'", reason="MariaDB's own plans"),
]
DAYS = 6
PER_DAY = 700
#: An index lookup in each partition: the days, those made ahead, and the two that stay empty.
LOOKUPS = DAYS + 1 + partitions.AHEAD_DAYS + 2


@pytest.fixture(scope="module")
def event(django_db_setup: None, django_db_blocker: Any) -> Iterator[Event]:
    """One of several thousand events of several days."""
    with django_db_blocker.unblock():
        events = rows.fill(days.today() - timedelta(days=DAYS), PER_DAY)
        yield Event.objects.get(pk=events[len(events) // 2].pk)
        Event.objects.all().delete()
        rows.divide(days.today())


def statements(client: Client, query: dict[str, str]) -> list[str]:
    """What the list's page reads of the trail."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(reverse("admin:audit_event_changelist"), query).status_code == 200
    return [query["sql"] for query in queries if "audit_event" in query["sql"]]


def plan(sql: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN PARTITIONS {sql}")
        names = [column[0] for column in cursor.description]
        (steps,) = cursor.fetchall()
    return dict(zip(names, steps, strict=True))


def rows_read(sql: str) -> int:
    before = _handled()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.fetchall()
    return _handled() - before


def _handled() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        # Reading this list is counted under rnd_next; so would a full scan be, which has no key.
        counts = {name: int(count) for name, count in cursor.fetchall()}
    return sum(count for name, count in counts.items() if name != "Handler_read_rnd_next")


def day_of(event: Event) -> str:
    return f"{days.of(event.pk.hex)}"


def query_of(event: Event, *names: str) -> dict[str, str]:
    values = {name: str(getattr(event, name)) for name in names if name not in ("day", "before")}
    whole = {"day": day_of(event), "before": event.pk.hex}
    return {**values, **{name: whole[name] for name in names if name in whole}}


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ((), "PRIMARY"),
        (("before",), "PRIMARY"),
        (("subject",), "audit_event_subject"),
        (("actor",), "audit_event_actor"),
        (("action",), "audit_event_action"),
        (("action", "before"), "audit_event_action"),
        (("request_id",), "audit_event_request"),
    ],
)
def test_a_page_reads_the_rows_that_it_shows(event, admin_client, names, key):
    (sql,) = statements(admin_client, query_of(event, *names))
    found = plan(sql)
    assert found["key"] == key
    assert "filesort" not in found["Extra"] or key == "audit_event_request"
    assert rows_read(sql) <= PAGE_ROWS + 1 + LOOKUPS


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ((), "audit_event_tenant"),
        (("before",), "audit_event_tenant"),
        (("subject",), "audit_event_subject"),
        (("subject", "before"), "audit_event_subject"),
    ],
)
def test_so_does_a_page_of_one_tenants_events(event, names, key):
    tenant = Tenant.objects.create(slug=event.tenant, plan=Plan.objects.create(name="any"))
    person = User.objects.create_superuser("anna", password="x", tenant=tenant)
    client = Client()
    client.force_login(person)
    (sql,) = statements(client, query_of(event, *names))
    assert plan(sql)["key"] == key
    assert rows_read(sql) <= PAGE_ROWS + 1 + LOOKUPS


@pytest.mark.parametrize(
    "names", [("day",), ("day", "subject"), ("day", "action"), ("day", "subject", "actor")]
)
def test_a_day_is_looked_for_in_its_own_partition(event, admin_client, names):
    (sql,) = statements(admin_client, query_of(event, *names))
    found = plan(sql)
    assert found["partitions"] == f"p{day_of(event).replace('-', '')}"
    assert found["key"] is not None
    assert rows_read(sql) <= PAGE_ROWS + 2


def test_what_is_older_is_not_looked_for_in_later_days(event, admin_client):
    (sql,) = statements(admin_client, query_of(event, "before"))
    later = days.of(event.pk.hex) + timedelta(days=1)
    assert f"p{later:%Y%m%d}" not in plan(sql)["partitions"]


@pytest.mark.parametrize(
    ("name", "key"),
    [("", "PRIMARY"), ("actor", "audit_event_actor"), ("action", "audit_event_action")],
)
def test_a_file_is_read_by_an_index_page_after_page(event, monkeypatch, name, key):
    monkeypatch.setattr(export, "PAGE_ROWS", 5)
    search = Search({name: getattr(event, name)} if name else {})
    with CaptureQueriesContext(connection) as queries:
        assert len(list(export.lines(search, "jsonl", most=12))) == 12
    assert len(queries) == 3
    for query in queries:
        found = plan(query["sql"])
        assert (found["key"], "filesort" in found["Extra"]) == (key, False)
        assert rows_read(query["sql"]) <= 5 + LOOKUPS
