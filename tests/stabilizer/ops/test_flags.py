"""Forcing a flag from the dashboard: by who may, with all that it needs, and recorded."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from audit import clock, outbox
from audit.models import Event
from ratelimit.models import Flag
from stabilizer.gate import policy

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
PATH = "/ops/flags/search_off/"
FORM = {"decision": "on", "who": "olga", "why": "a test", "minutes": "5"}


def browser(*permissions: str, **who: bool) -> Client:
    person = User.objects.create_user("olga", password="x", **who)
    person.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=True)
    client.force_login(person)
    return client


def post(client: Client, path: str = PATH, **form: str):
    token = client.get("/ops/").cookies
    given = {"csrfmiddlewaretoken": token["csrftoken"].value} if "csrftoken" in token else {}
    return client.post(path, {**FORM, **given, **form})


@pytest.fixture
def operator(db) -> Client:
    return browser("change_flag", is_staff=True)


def flag() -> Flag:
    return Flag.objects.get(name="search_off")


def test_who_may_forces_a_flag_and_releases_it(operator):
    assert post(operator).json() == {"name": "search_off", "forced": True}
    forced = flag()
    assert (forced.forced, forced.owner, forced.reason) == (True, "olga", "a test")
    assert 0 < (forced.expires_at - clock.now()).total_seconds() <= 300
    assert post(operator, decision="auto").json() == {"name": "search_off", "forced": None}
    outbox.move()
    events = Event.objects.filter(action__startswith="flag.").order_by("pk")
    assert [event.action for event in events] == ["flag.forced", "flag.released"]
    assert {event.actor for event in events} == {f"person:{User.objects.get().pk}"}


@pytest.mark.parametrize("missing", ["who", "why", "minutes", "decision"])
def test_what_is_missing_is_named(operator, missing):
    answer = post(operator, **{missing: ""})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [missing]
    assert flag().forced is None


def test_staff_who_may_not_are_refused(db):
    assert post(browser(is_staff=True)).status_code == 403
    assert flag().forced is None


def test_a_permission_alone_makes_nobody_staff(db):
    assert browser("change_flag").post(PATH, FORM).status_code == 403


def test_a_form_from_elsewhere_is_refused(operator):
    assert operator.post(PATH, FORM).status_code == 403
    assert flag().forced is None


def test_a_step_that_there_is_not_is_not_found(operator):
    assert post(operator, "/ops/flags/nothing/").status_code == 404


def test_looking_changes_nothing(operator):
    assert operator.get(PATH).status_code == 405


def test_only_who_may_force_sees_buttons(operator, client):
    assert 'data-may-force="yes"' in operator.get("/ops/").content.decode()
    client.force_login(User.objects.create_user("otto", is_staff=True))
    assert 'data-may-force=""' in client.get("/ops/").content.decode()


def test_it_falls_under_the_budget_that_no_pressure_takes():
    assert policy.route("POST", PATH) == "admin"
    assert policy.DEFAULTS["admin"].stays
