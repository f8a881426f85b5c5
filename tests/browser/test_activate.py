"""A person with a real browser signs a screen in, with and without scripts, wide and narrow."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client as Http
from playwright.sync_api import Browser, Page, expect, sync_playwright

from accounts import snapshot
from accounts.models import Client, Plan, Tenant, User
from pairing import credentials
from pairing.models import Smartcard, Subscriber
from ratelimit import limiter, store

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (1280, 360)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # Playwright's loop runs in this thread, where Django would refuse the database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def site(transactional_db: None, redis_client: Any, live_server: Any) -> Iterator[str]:
    """A running service with one subscriber, Anna, and a public client."""
    store._forget()
    limiter._forget()
    plan = Plan.objects.create(name="operator")
    tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
    Client.objects.create(
        tenant=tenant, client_id="acme-tv", name="Acme's app", default_for_host="*"
    )
    anna = User.objects.create_user("anna", password="tulip-9431", tenant=tenant)
    subscriber = Subscriber.objects.create(tenant=tenant, code="S-1", name="Anna", user=anna)
    Smartcard.objects.create(tenant=tenant, subscriber=subscriber, sn="C-1")
    snapshot.reload()
    subscriber.sealed_credentials = credentials.seal(tenant.pk, "S-1", {"login1": "anna"})
    subscriber.save()
    yield live_server.url
    snapshot.forget()


def new_device(**facts: str) -> dict[str, Any]:
    body = {"app_type": "android_tv", **facts}
    response = Http().post("/api/v1/pairings/", body, content_type="application/json")
    assert response.status_code == 201, response.content
    created: dict[str, Any] = response.json()
    return created


def sign_in(page: Page, site: str) -> None:
    page.goto(f"{site}/activate/")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password").fill("tulip-9431")
    page.get_by_role("button", name="Sign in").click()


def collect(device: dict[str, Any]) -> dict[str, Any]:
    response = Http().post(
        f"/api/v1/pairings/{device['udid']}/credentials/",
        headers={"Authorization": f"Bearer {device['device_code']}"},
        content_type="application/json",
    )
    found: dict[str, Any] = response.json()
    return found


def fits(page: Page) -> bool:
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_person_signs_in_types_the_code_and_approves_the_screen(
    chromium: Browser, site: str, width: int, scripts: bool
):
    device = new_device(model="OLED55 " + "x" * 60, name="Living room")
    page = chromium.new_page(
        viewport={"width": width, "height": 800}, java_script_enabled=scripts, locale="en"
    )
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, site)

    code = page.get_by_label("Code", exact=True)
    code.press_sequentially(device["user_code"].replace("-", "").lower())
    if scripts:
        expect(code).to_have_value(device["user_code"])
    assert fits(page)
    page.get_by_role("button", name="Continue").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("You are giving THIS screen access")
    expect(page.locator(".glass .code")).to_have_text(device["user_code"])
    assert fits(page)
    page.get_by_role("button", name="Approve").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Your screen is being signed in")
    assert fits(page)
    assert collect(device)["credentials"]["login1"] == "anna"
    assert complaints == []
    page.close()


def test_the_code_can_be_reached_and_answered_with_the_keyboard_alone(chromium: Browser, site: str):
    device = new_device()
    page = chromium.new_page(locale="en")
    sign_in(page, site)
    expect(page.get_by_label("Code", exact=True)).to_be_focused()
    page.keyboard.type(device["user_code"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Deny")).to_be_visible()
    page.get_by_role("button", name="Deny").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Denied")
    assert collect(device)["code"] == "access_denied"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground_as_wcag_aa_asks(
    chromium: Browser, site: str, scheme: str
):
    device = new_device(model="OLED55")
    page = chromium.new_page(color_scheme=scheme, locale="en")  # type: ignore[arg-type]
    faint = contrast_of(page, f"{site}/")
    faint += contrast_of(page, f"{site}/accounts/login/")
    sign_in(page, site)
    page.get_by_label("Code", exact=True).fill("BCDFGHJK")
    page.get_by_role("button", name="Continue").click()
    faint += contrast_of(page)
    page.get_by_label("Code", exact=True).fill(device["user_code"])
    page.get_by_role("button", name="Continue").click()
    faint += contrast_of(page)
    page.get_by_role("button", name="Approve").click()
    faint += contrast_of(page)
    assert faint == []
    page.close()


#: Each text whose contrast with the nearest painted ground is below 4.5 (WCAG 2.2, 1.4.3).
FAINT = """() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= .03928 ? v / 12.92
    : ((v + .055) / 1.055) ** 2.4; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e)
    .backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter(e => e.offsetParent &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), e.textContent.trim().slice(0, 40)]; })
    .filter(([ratio]) => ratio < 4.5);
}"""


def contrast_of(page: Page, url: str = "") -> list[Any]:
    if url:
        page.goto(url)
    found: list[Any] = page.evaluate(FAINT)
    return found
