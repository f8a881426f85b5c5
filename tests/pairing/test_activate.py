"""The pages on which a person gives a screen access, or refuses it."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client as Browser
from django.utils import translation

from accounts.models import Tenant, User
from pairing.models import Pairing, State, Subscriber
from tests.conftest import MovableClock
from tests.pairing.conftest import Device, Operator, subscribe


@pytest.fixture
def browser(operator: Operator, person: User) -> Browser:
    """Anna's, who is the person behind subscriber S-1."""
    browser = Browser(REMOTE_ADDR="198.51.100.20")
    browser.force_login(person)
    return browser


@pytest.fixture
def desk(operator: Operator, tenant: Tenant) -> Browser:
    """The browser of a person who approves for every subscriber."""
    user = User.objects.create_user("oscar", password="x", tenant=tenant, is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="approve"))
    browser = Browser()
    browser.force_login(user)
    return browser


def enter(browser: Browser, code: str) -> HttpResponse:
    return browser.post("/activate/", {"user_code": code})


def consent_page(browser: Browser, device: Device) -> str:
    found = enter(browser, device.user_code)
    assert found.status_code == 302, found.content.decode()
    return found["Location"]


def text(response: HttpResponse) -> str:
    """What a person reads, without tags and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_a_stranger_is_sent_to_the_login_page_and_comes_back_with_the_code(operator: Operator):
    response = Browser().get("/activate/?user_code=WDJB-MJHT")
    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=/activate/%3Fuser_code%3DWDJB-MJHT"


def test_the_address_on_the_screen_fills_the_code_in_but_confirms_nothing(browser: Browser):
    device = Device.create()
    page = browser.get("/activate/", {"user_code": device.user_code})
    assert f'value="{device.user_code}"' in page.content.decode()
    assert "Compare this code with the one on your screen" in text(page)
    assert device.row.state == State.PENDING


def test_the_consent_page_says_what_asks_and_from_where(browser: Browser, clock: MovableClock):
    device = Device.create(model="OLED55", os="webOS 8", name="Den", address="203.0.113.9")
    clock.advance(150)
    page = text(browser.get(consent_page(browser, device)))
    for words in (
        "You are giving THIS screen access",
        device.user_code,
        "OLED55",
        "android_tv",
        "webOS 8",
        "2 minutes ago",
        "203.0.113.9",
        "Not the network address you use now",
        "S-1",
    ):
        assert words in page


def test_a_request_from_the_same_address_is_said_to_be_near(browser: Browser):
    device = Device.create(address="198.51.100.20")
    page = browser.get(consent_page(browser, device))
    assert "The same network address as yours" in text(page)


def test_what_a_device_says_of_itself_is_never_markup(browser: Browser):
    evil = '"><script>alert(1)</script>'
    device = Device.create(model=evil, os=evil, name=evil)
    page = browser.get(consent_page(browser, device)).content.decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4


def test_a_subscriber_approves_and_the_screen_collects(browser: Browser):
    device = Device.create()
    page = consent_page(browser, device)
    answered = browser.post(page, {"answer": "approve"})
    assert (answered.status_code, answered["Location"]) == (302, page)
    told = browser.get(page)
    assert told.status_code == 200
    assert "Your screen is being signed in" in text(told)
    assert device.collect().json()["credentials"]["subscriber_code"] == "S-1"


def test_a_subscriber_cannot_choose_another_subscriber(browser: Browser, tenant: Tenant):
    subscribe(tenant, "S-2", "D-1")
    device = Device.create()
    form = {"answer": "approve", "subscriber_code": "S-2", "sn": "D-1"}
    assert browser.post(consent_page(browser, device), form).status_code == 302
    subscriber = device.row.subscriber
    assert subscriber is not None
    assert subscriber.code == "S-1"


def test_a_denied_screen_gets_nothing(browser: Browser):
    device = Device.create()
    page = consent_page(browser, device)
    assert browser.post(page, {"answer": "deny"}).status_code == 302
    assert "Denied" in text(browser.get(page))
    assert device.collect().json()["code"] == "access_denied"


def test_reloading_the_consent_page_decides_nothing(browser: Browser):
    device = Device.create()
    page = consent_page(browser, device)
    assert browser.get(page).status_code == browser.get(page).status_code == 200
    assert device.row.state == State.PENDING


def test_an_operator_chooses_the_subscriber_and_the_card(desk: Browser):
    device = Device.create()
    form = {"answer": "approve", "subscriber_code": "S-1", "sn": "C-2"}
    assert desk.post(consent_page(desk, device), form).status_code == 302
    row = device.row
    assert row.smartcard is not None
    assert (row.smartcard.sn, row.state) == ("C-2", State.APPROVED)


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({}, 400, "Nothing was chosen"),
        ({"answer": "approve"}, 400, "Which subscriber?"),
        ({"answer": "approve", "subscriber_code": "S-9"}, 404, "No such subscriber"),
        ({"answer": "approve", "subscriber_code": "S-1", "sn": "X"}, 404, "No such smartcard"),
        ({"answer": "approve", "subscriber_code": "S-1", "sn": "C-1"}, 409, "is in use"),
    ],
)
def test_an_operator_hears_what_is_wrong_and_keeps_what_was_typed(
    desk: Browser, operator: Operator, form: dict[str, str], status: int, words: str
):
    assert operator.approve(Device.create(), sn="C-1").status_code == 200
    device = Device.create()
    page = desk.post(consent_page(desk, device), form)
    assert page.status_code == status
    assert words in text(page)
    assert f'value="{form.get("subscriber_code", "")}"' in page.content.decode()
    assert device.row.state == State.PENDING


def test_no_free_card_is_said_to_the_subscriber(browser: Browser, operator: Operator):
    for _ in range(2):
        assert operator.approve(Device.create()).status_code == 200
    page = browser.post(consent_page(browser, Device.create()), {"answer": "approve"})
    assert page.status_code == 409
    assert "No smartcard is free" in text(page)


def test_a_locked_subscription_signs_no_screen_in(browser: Browser, subscriber: Subscriber):
    Subscriber.objects.update(state=Subscriber.State.LOCKED)
    page = browser.post(consent_page(browser, Device.create()), {"answer": "approve"})
    assert page.status_code == 409
    assert "The subscription is locked" in text(page)


@pytest.mark.parametrize("code", ["BCDF-GHJK", "hello", "", "AEIO-UAEI", "<b>", "1" * 500])
def test_what_is_no_code_is_unknown_whatever_it_looks_like(browser: Browser, code: str):
    page = enter(browser, code)
    assert page.status_code == 404
    assert "We do not know this code" in text(page)
    assert "<b>" not in page.content.decode()


def test_a_code_of_another_tenant_reads_like_an_unknown_one(browser: Browser, foreigner: Operator):
    foreign = Device.create(client_id="globex-tv")
    unknown, theirs = enter(browser, "BCDF-GHJK"), enter(browser, foreign.user_code)
    assert theirs.status_code == unknown.status_code == 404
    assert text(theirs) == text(unknown)


def test_a_code_is_accepted_in_lower_case_and_without_its_dash(browser: Browser):
    device = Device.create()
    assert enter(browser, f" {device.user_code.replace('-', '').lower()} ").status_code == 302


def test_a_used_code_says_so(browser: Browser, operator: Operator):
    device = Device.create()
    operator.approve(device)
    page = enter(browser, device.user_code)
    assert page.status_code == 409
    assert "This code has been used already" in text(page)


def test_an_expired_code_says_so(browser: Browser, clock: MovableClock):
    device = Device.create()
    clock.advance(601)
    page = enter(browser, device.user_code)
    assert page.status_code == 410
    assert "This code has expired" in text(page)


def test_a_code_that_expires_on_the_consent_page_gives_nothing(
    browser: Browser, clock: MovableClock
):
    device = Device.create()
    page = consent_page(browser, device)
    clock.advance(601)
    late = browser.post(page, {"answer": "approve"})
    assert late.status_code == 410
    assert "This code has expired" in text(late)
    assert device.row.approved_at is None


def test_a_screen_that_somebody_else_approved_meanwhile_reads_as_used(
    browser: Browser, operator: Operator
):
    device = Device.create()
    page = consent_page(browser, device)
    operator.approve(device)
    told = browser.post(page, {"answer": "approve"})
    assert told.status_code == 409
    assert "This code has been used already" in text(told)


def test_guessing_is_stopped_after_five_wrong_codes_and_told_when_to_return(browser: Browser):
    statuses = [enter(browser, f"BCDF-GHJ{letter}").status_code for letter in "KLMNPQ"]
    assert statuses == [404] * 5 + [429]
    refused = enter(browser, "BCDF-GHJK")
    assert 0 < int(refused["Retry-After"]) <= 180
    assert "Too many wrong codes" in text(refused)
    assert re.search(r"Please wait \d minutes? before", text(refused))


def test_the_consent_page_costs_six_queries(browser: Browser, django_assert_num_queries: Any):
    page = consent_page(browser, Device.create())
    # The session, the person, what the person may do (two), whose subscriber it is, the pairing.
    with django_assert_num_queries(6):
        browser.get(page)


def test_two_windows_do_not_mix_their_screens_up(browser: Browser):
    first, second = Device.create(model="First"), Device.create(model="Second")
    pages = [consent_page(browser, device) for device in (first, second)]
    browser.post(pages[0], {"answer": "approve"})
    assert (first.row.state, second.row.state) == (State.APPROVED, State.PENDING)


def test_a_screen_that_renewed_its_code_meanwhile_is_still_the_same_screen(browser: Browser):
    device = Device.create()
    page = consent_page(browser, device)
    assert device.renew().status_code == 200
    assert browser.post(page, {"answer": "approve"}).status_code == 302
    assert device.row.state == State.APPROVED


def test_the_address_of_a_consent_page_is_of_no_use_to_anybody_else(
    browser: Browser, desk: Browser
):
    page = consent_page(browser, Device.create())
    assert browser.get(page).status_code == 200
    assert desk.get(page).status_code == 404


def test_a_forged_ticket_is_not_found(browser: Browser):
    page = consent_page(browser, Device.create())
    assert browser.get(page[:-2] + "x/").status_code == 404
    assert browser.get("/activate/anything/").status_code == 404


def test_an_answer_without_the_csrf_token_is_refused(browser: Browser, person: User):
    device = Device.create()
    page = consent_page(browser, device)
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(person)
    refused = strict.post(page, {"answer": "approve"})
    assert refused.status_code == 403
    assert "This form has gone stale" in text(refused)
    assert device.row.state == State.PENDING


def test_a_person_without_a_subscription_is_told_whom_to_ask(operator: Operator, tenant: Tenant):
    browser = Browser()
    browser.force_login(User.objects.create_user("nobody", password="x", tenant=tenant))
    for page in (browser.get("/activate/"), enter(browser, Device.create().user_code)):
        assert page.status_code == 403
        assert "Your account cannot sign a screen in" in text(page)


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/activate/"])
def test_pages_bring_no_inline_script_or_style_and_are_not_framed(browser: Browser, path: str):
    if path == "/accounts/login/":
        browser.logout()
    page = browser.get(path)
    assert page.status_code == 200
    html = page.content.decode()
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", html)
    assert page["X-Frame-Options"] == "DENY"


def test_pages_about_a_screen_are_not_kept_by_caches(browser: Browser):
    assert "no-store" in browser.get(consent_page(browser, Device.create()))["Cache-Control"]


def test_the_first_page_leads_to_docs_admin_and_code(client: Browser):
    html = client.get("/").content.decode()
    for target in ("/api/docs/", "/admin/", "/activate/"):
        assert f'href="{target}"' in html


@pytest.mark.parametrize("header", ["es", "es-AR,es;q=0.9"])
def test_pages_speak_spanish_to_whoever_prefers_it(browser: Browser, header: str):
    page = browser.get("/activate/", headers={"Accept-Language": header})
    assert '<html lang="es">' in page.content.decode()
    assert "Introduzca el código" in text(page)


def test_a_language_is_chosen_at_the_foot_of_the_page(client: Browser):
    client.post("/i18n/setlang/", {"language": "es", "next": "/"})
    assert "Dé acceso a un televisor" in text(client.get("/"))


def test_counted_words_are_right_in_spanish():
    with translation.override("es"):
        sentence = translation.ngettext("%(minutes)d minute ago", "%(minutes)d minutes ago", 2)
    assert sentence == "hace %(minutes)d minutos"


def test_a_missing_page_looks_like_ours(client: Browser):
    page = client.get("/nowhere/")
    assert page.status_code == 404
    assert "There is no such page" in text(page)


def test_no_pairing_was_made_by_looking_at_pages(browser: Browser):
    for path in ("/", "/activate/", "/activate/?user_code=WDJB-MJHT"):
        browser.get(path)
    assert Pairing.objects.count() == 0
