"""What people do in a browser: log in and out, and give a screen access."""

from typing import Any

from django.test import Client as Http

from tests.pairing.conftest import Device, browser
from tests.stabilizer.changes.acts import Change, act
from tests.stabilizer.changes.stage import PASSWORD, Stage

LOGIN, LOGOUT = "POST /accounts/login/", "POST /accounts/logout/"
ACTIVATE, CONSENT = "POST /activate/", "POST /activate/<str:ticket>/"


def log_in(username: str, password: str = PASSWORD) -> Any:
    return browser().post("/accounts/login/", {"username": username, "password": password})


def enter(page: Http, code: str) -> Any:
    return page.post("/activate/", {"user_code": code})


def consent(page: Http, device: Device, **form: str) -> Change:
    """Finds the device's code; the change is what the person then answers."""
    address = enter(page, device.user_code)["Location"]
    return lambda: page.post(address, form)


@act(LOGIN, "login.staff", by="person:")
def staff_log_in(stage: Stage) -> Change:
    return lambda: log_in("root")


@act(LOGIN, "login.succeeded", by="person:")
def a_person_logs_in(stage: Stage) -> Change:
    return lambda: log_in("anna")


@act(LOGIN, "login.failed", status=401)
def somebody_fails_to_log_in(stage: Stage) -> Change:
    return lambda: log_in("anna", "wrong")


@act(LOGIN, "login.failed", status=401)
def somebody_fails_to_log_in_as_staff(stage: Stage) -> Change:
    return lambda: log_in("root", "wrong")


@act(LOGIN, "login.failed", status=401)
def somebody_logs_in_as_nobody(stage: Stage) -> Change:
    return lambda: log_in("nobody", "wrong")


@act(LOGOUT, "logout", by="person:")
def a_person_logs_out(stage: Stage) -> Change:
    page = browser(stage.anna)
    return lambda: page.post("/accounts/logout/")


@act(LOGOUT)
def somebody_logs_out_who_was_not_logged_in(stage: Stage) -> Change:
    return lambda: browser().post("/accounts/logout/")


@act("POST /admin/logout/", "logout", by="person:")
def staff_log_out_of_the_admin(stage: Stage) -> Change:
    page = stage.desk
    return lambda: page.post("/admin/logout/")


@act("POST /admin/password_change/", "person.changed", by="person:")
def staff_set_their_own_password(stage: Stage) -> Change:
    page, new = stage.desk, "another one 77"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    return lambda: page.post("/admin/password_change/", form)


@act(ACTIVATE)
def a_person_finds_a_screen(stage: Stage) -> Change:
    page, device = browser(stage.anna), stage.device()
    return lambda: enter(page, device.user_code)


@act(ACTIVATE, "code.unknown", by="person:", status=404)
def a_person_tries_a_wrong_code(stage: Stage) -> Change:
    page = browser(stage.anna)
    return lambda: enter(page, "BCDF-GHJK")


@act(ACTIVATE, "code.refused", by="person:", status=429)
def a_person_has_tried_too_many_wrong_codes(stage: Stage) -> Change:
    page = browser(stage.anna)
    for last in "KLMNP":
        assert enter(page, f"BCDF-GHJ{last}").status_code == 404
    return lambda: enter(page, "BCDF-GHJQ")


@act(CONSENT, "pairing.approved", by="person:")
def a_person_gives_a_screen_access(stage: Stage) -> Change:
    return consent(browser(stage.anna), stage.device(), answer="approve")


@act(CONSENT, "pairing.approved", by="person:")
def an_operator_gives_a_screen_access(stage: Stage) -> Change:
    form = {"answer": "approve", "subscriber_code": "S-1"}
    return consent(stage.approver(), stage.device(), **form)


@act(CONSENT, "pairing.denied", by="person:")
def a_person_refuses_a_screen(stage: Stage) -> Change:
    return consent(browser(stage.anna), stage.device(), answer="deny")
