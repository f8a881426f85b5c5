"""One login page for everybody; wrong passwords are 401, logins of staff are recorded with them."""

import re

import pytest
from django.test import Client as Browser

import audit
from accounts.models import User
from audit import outbox
from tests.accounts.conftest import PASSWORD
from tests.bad_input import HOSTILE_TEXTS

LOGIN = "/accounts/login/"


@pytest.fixture
def ana(tenant):
    return User.objects.create_user("ana", password=PASSWORD, tenant=tenant)


@pytest.fixture
def reports(monkeypatch):
    """The actions reported (class R) while the test runs."""
    actions = []
    monkeypatch.setattr(audit, "record", lambda action, *_, **__: actions.append(action))
    return actions


def log_in(browser, username="ana", password=PASSWORD, **fields):
    return browser.post(LOGIN, {"username": username, "password": password, **fields})


def test_the_right_password_logs_in(client, ana, reports):
    response = log_in(client)
    assert (response.status_code, response["Location"]) == (302, "/activate/")
    assert client.session["_auth_user_id"] == str(ana.pk)
    assert reports == ["login.succeeded"]


def test_a_wrong_password_is_401_with_the_form(client, ana, reports):
    response = log_in(client, password="wrong")
    assert response.status_code == 401
    assert b'name="password"' in response.content
    assert "_auth_user_id" not in client.session
    assert reports == ["login.failed"]


def test_an_unknown_name_is_answered_like_a_wrong_password(client, ana):
    unknown, wrong = log_in(client, "nobody"), log_in(client, password="wrong")
    error = "Please enter a correct username and password"
    assert (unknown.status_code, wrong.status_code) == (401, 401)
    assert error in unknown.content.decode()
    assert error in wrong.content.decode()


def test_a_failed_login_tells_whom_it_was_for_but_never_what_was_typed_in_place_of_a_name(
    client, ana, monkeypatch
):
    subjects = []
    monkeypatch.setattr(audit, "record", lambda *_, subject="", **__: subjects.append(subject))
    for name in ("ana", "hunter2", "hunter2", "hunter3"):
        log_in(client, name, "wrong")
    assert subjects[0] == "login:ana"
    assert subjects[1] == subjects[2] != subjects[3]
    assert all(re.fullmatch("login:#[0-9a-f]{16}", subject) for subject in subjects[1:])


def test_a_login_of_staff_is_recorded_with_it(client, admin_user, changes, reports):
    changes()
    assert log_in(client, "root").status_code == 302
    assert changes() == ["login.staff"]
    assert reports == []


def test_staff_cannot_log_in_while_the_trail_is_unavailable(client, admin_user, monkeypatch):
    def refuse(draft):
        raise audit.AuditUnavailable("full")

    monkeypatch.setattr(outbox, "put", refuse)
    response = log_in(client, "root")
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert client.get("/admin/").status_code == 302


def test_the_page_leads_back_to_where_the_person_came_from(client, ana):
    assert log_in(client, next="/activate/?code=WDJB")["Location"] == "/activate/?code=WDJB"


def test_the_page_never_leads_to_another_host(client, ana):
    assert log_in(client, next="https://evil.example/")["Location"] == "/activate/"


def test_the_admin_uses_the_same_door(client, db):
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == f"{LOGIN}?next=%2Fadmin%2F"
    assert b'name="password"' in response.content


def test_logging_out_is_a_post(client, ana, reports):
    client.force_login(ana)
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").status_code == 302
    assert "_auth_user_id" not in client.session
    assert reports == ["logout"]


def test_a_login_needs_its_csrf_token(ana):
    assert log_in(Browser(enforce_csrf_checks=True)).status_code == 403


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS.values(), "a\x00b"], ids=[*HOSTILE_TEXTS, "nul"])
def test_hostile_names_are_wrong_names(client, ana, text):
    response = log_in(client, text, text)
    assert response.status_code == 401
    assert b"<script>alert" not in response.content
    assert b"<img src=x" not in response.content


def test_a_login_that_is_not_utf_8_is_a_wrong_login(client, ana):
    body = b"username=%ff%fe&password=%c0%af"
    response = client.post(LOGIN, body, "application/x-www-form-urlencoded")
    assert response.status_code == 401


def test_a_login_of_too_many_fields_is_400(client, db):
    body = "&".join(f"f{number}=1" for number in range(1500))
    response = client.post(LOGIN, body, "application/x-www-form-urlencoded")
    assert response.status_code == 400
