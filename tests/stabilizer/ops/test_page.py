"""The dashboard's paths: for staff, under a strict policy of contents, for a few queries."""

import pytest
from django.test import Client

from accounts.models import User
from ratelimit.store import Store
from stabilizer.gate import policy
from stabilizer.ops import feed, history, shelf, views
from stabilizer.ops.collector import columns

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
PATHS = ("/ops/", "/ops/stream/", "/ops/day/")


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("olga", password="x", is_staff=True))
    return client


def test_who_is_nobody_yet_may_log_in(client):
    assert client.get("/ops/").headers["Location"] == "/accounts/login/?next=/ops/"


@pytest.mark.parametrize("path", PATHS[1:])
def test_data_is_refused_to_who_is_nobody(client, path):
    assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_people_who_are_no_staff_are_refused(client, path):
    client.force_login(User.objects.create_user("ana", password="x"))
    assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_changed_here(staff, path):
    assert staff.post(path).status_code == 405


def test_the_page_costs_four_queries(staff, django_assert_num_queries):
    # The session, its person, and whether that person may force flags: by itself, by its groups.
    with django_assert_num_queries(4):
        page = staff.get("/ops/")
    assert page.status_code == 200
    assert page.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")


def test_the_page_allows_nothing_unsafe_and_needs_nothing_from_elsewhere(staff):
    page = staff.get("/ops/")
    rule = page.headers["Content-Security-Policy"]
    assert "unsafe" not in rule
    assert rule.startswith("default-src 'none'; script-src 'self'")
    text = page.content.decode()
    assert "style=" not in text
    assert "<style" not in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert text.count("<script") == text.count("<script src=")


def test_the_admin_leads_to_it(staff):
    assert '<a href="/ops/">' in staff.get("/admin/").content.decode()


def test_the_page_is_spanish_for_who_reads_spanish(staff):
    page = staff.get("/ops/", headers={"Accept-Language": "es"}).content.decode()
    assert "Operaciones" in page
    assert 'data-nothing-lost="Nada perdido"' in page


def test_all_of_it_falls_under_the_budget_that_no_crowd_takes():
    assert {policy.route("GET", path) for path in PATHS} == {"admin"}


def test_the_day_is_what_redis_keeps(staff, redis_client):
    redis_client.rpush(history.TENS, "[1, 2]", "[3, 4]")
    shelf.forget()
    answer = staff.get("/ops/day/").json()
    assert answer == {"columns": columns(), "rows": [[1, 2], [3, 4]]}


def test_where_no_event_loop_serves_there_is_no_stream(staff, monkeypatch):
    monkeypatch.setattr(feed, "_feed", None)
    answer = staff.get("/ops/stream/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_without_redis_nothing_is_kept(monkeypatch):
    away = Store("redis://127.0.0.1:1/0")
    monkeypatch.setattr(shelf, "_shared", away)
    assert views.kept(history.TENS) == []
    away.close()
