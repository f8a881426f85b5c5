"""The dashboard in a real browser, before a real web process, which may end under it."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect

from accounts.models import User
from dev import ports
from ratelimit.flags import STEPS
from ratelimit.models import Flag
from stabilizer.ops.collector import columns
from tests.browser import test_activate
from tests.browser.test_activate import FAINT, WIDTHS, fits
from tests.stabilizer import processes

pytestmark = pytest.mark.processes
chromium = test_activate.chromium
site = test_activate.site

ANSWERS = ("serving", "refused", "saturated", "lost")
CHARTS = (
    *("load", "latency", "slots", "refusals", "pressure", "sockets"),
    *("trail", "background", "locks", "excess"),
)


class Web:
    """A web process that can be killed and started again on the same port."""

    def __init__(self) -> None:
        self.port = ports.free_pair()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = processes.start("--port", str(self.port), PUBLIC_URL=self.url)
        processes.wait_for_server(self.port)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def web(site: str) -> Iterator[Web]:
    web = Web()
    web.start()
    yield web
    web.kill()


class Dashboard:
    """The page of a person of the staff, and what its console complains of."""

    def __init__(self, chromium: Browser, web: Web, cookie: str, **how: Any) -> None:
        self.context = chromium.new_context(**{"locale": "en", **how})
        self.context.add_cookies([{"name": "sessionid", "value": cookie, "url": web.url}])
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = f"{web.url}/ops/"

    def open(self) -> Page:
        self.page.goto(self.url)
        return self.page

    def expect_live(self, kind: str = "live", timeout_s: float = 15) -> None:
        live = self.page.locator("#live")
        expect(live).to_have_attribute("data-kind", kind, timeout=timeout_s * 1000)


@pytest.fixture
def cookie(site: str) -> str:
    client = Client()
    olga = User.objects.create_user("olga", password="x", is_staff=True)
    olga.user_permissions.add(Permission.objects.get(codename="change_flag"))
    client.force_login(olga)
    return client.cookies["sessionid"].value


@pytest.fixture
def open_dashboard(chromium: Browser, web: Web, cookie: str) -> Iterator[Any]:
    made: list[Dashboard] = []

    def make(**how: Any) -> Dashboard:
        made.append(Dashboard(chromium, web, cookie, **how))
        return made[-1]

    yield make
    for dashboard in made:
        dashboard.context.close()


def ask_a_little(web: Web) -> None:
    for _ in range(20):
        assert processes.get(web.port, "/")[0] == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_four_answers_and_the_charts_are_there_wide_and_narrow(
    open_dashboard: Any, web: Web, width: int, scheme: str
):
    dashboard = open_dashboard(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = dashboard.open()
    dashboard.expect_live()
    ask_a_little(web)
    for answer in ANSWERS:
        card = page.locator(f"#{answer}")
        expect(card).not_to_have_attribute("data-state", "unknown", timeout=20_000)
        expect(card.locator(".word")).not_to_be_empty()
        expect(card.locator(".number")).not_to_have_text("–")
    expect(page.locator("#load .legend li").nth(1)).to_contain_text("Goodput")
    assert page.locator(".plot canvas").count() == len(CHARTS)
    expect(page.locator("#processes tbody tr")).to_have_count(1)
    expect(page.locator("#banners p")).to_have_count(0)
    expect(page.locator("#flags tbody tr")).to_have_count(len(STEPS))
    expect(page.locator("#breakers tbody tr")).to_have_count(2)
    expect(page.locator("#level")).to_have_text("level 0")
    expect(page.locator("#store .word")).to_have_text("Every process asks one Redis (1)")
    expect(page.locator("#store li")).to_have_text("Nothing can be let in twice.")
    expect(page.locator("#lost dl")).to_contain_text("Lag")
    adaptive = page.locator("#processes td").nth(3)
    expect(adaptive).to_have_text(re.compile(r"[1-9]\d*"))
    assert fits(page)
    assert page.evaluate(FAINT) == []
    assert dashboard.complaints == []


def test_it_speaks_spanish(open_dashboard: Any):
    page = open_dashboard(locale="es").open()
    expect(page.get_by_role("heading", level=1)).to_have_text("Operaciones")
    # Nobody stores the trail here, so it may well be behind.
    lost = re.compile("Nada perdido|El registro va retrasado")
    expect(page.locator("#lost .word")).to_have_text(lost, timeout=20_000)


def test_everything_can_be_reached_and_read_with_the_keyboard_alone(open_dashboard: Any):
    dashboard = open_dashboard(viewport={"width": 1280, "height": 900})
    page = dashboard.open()
    dashboard.expect_live()
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = "document.activeElement"
        reached.add(page.evaluate(f"{focus}.name || ({focus}.closest('[id]') || {{}}).id || ''"))
    assert {"range", "criticality", *CHARTS} <= reached
    page.locator("input[value=minutes]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[value=day]")).to_be_checked()
    page.keyboard.press("ArrowLeft")
    page.locator("input[value=all]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#latency .legend li").first).to_contain_text("p50")
    plot = page.locator("#load .plot")
    # Not `wait_for_function`: the page's policy forbids what that evaluates.
    while page.evaluate("minutes.of('at').length") < 4:
        page.wait_for_timeout(100)
    plot.focus()
    now = plot.get_attribute("aria-label")
    page.keyboard.press("Home")
    expect(plot).not_to_have_attribute("aria-label", now or "")
    assert "Goodput" in (plot.get_attribute("aria-label") or "")


def test_a_flag_is_forced_and_released_with_the_keyboard_alone(open_dashboard: Any):
    dashboard = open_dashboard(viewport={"width": 360, "height": 800})
    page = dashboard.open()
    dashboard.expect_live()
    row = page.locator('#flags tr[data-key="search_off"]')
    row.locator('button[data-act="on"]').focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#force")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("heading")).to_have_text("Force on: No search")
    assert page.evaluate(FAINT) == []
    # Nothing is sent without a reason.
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    page.keyboard.type("a concert tonight")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(row.locator(".forced")).to_contain_text("Forced on until", timeout=10_000)
    expect(row.locator(".forced")).to_contain_text("olga: a concert tonight")
    expect(row).to_contain_text("Taken")
    flag = Flag.objects.get(name="search_off")
    assert (flag.forced, flag.owner) == (True, "olga")
    row.locator('button[data-act="auto"]').focus()
    page.keyboard.press("Enter")
    expect(dialog.locator(".ends")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert Flag.objects.get(name="search_off").forced is True
    row.locator('button[data-act="auto"]').focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(row.locator(".forced")).to_have_text("the pressure", timeout=10_000)
    assert Flag.objects.get(name="search_off").forced is None
    assert fits(page)
    assert dashboard.complaints == []


def test_what_the_server_refuses_is_said_in_the_dialog(open_dashboard: Any):
    dashboard = open_dashboard()
    page = dashboard.open()
    dashboard.expect_live()
    User.objects.get(username="olga").user_permissions.clear()
    page.locator('#flags tr[data-key="search_off"] button[data-act="on"]').click()
    page.locator("#force-why").fill("a concert tonight")
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#force .notice")).to_have_text("That was not done (status 403).")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#force")).to_be_hidden()


def test_it_says_that_it_is_stale_when_the_stream_ends_and_lives_again(
    open_dashboard: Any, web: Web
):
    dashboard = open_dashboard()
    page = dashboard.open()
    dashboard.expect_live()
    web.kill()
    dashboard.expect_live("stale")
    expect(page.locator("#live-word")).to_contain_text("Stale since")
    expect(page.locator("#banners")).to_contain_text("What you see is old")
    web.start()
    dashboard.expect_live("live", timeout_s=20)
    expect(page.locator("#banners p")).to_have_count(0)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"scope": "process"}, "Redis does not answer"),
        ({"checks": {"database": {"ok": False, "ms": 1000}}}, "The database does not answer"),
    ],
)
def test_it_says_what_is_away(open_dashboard: Any, told: dict[str, Any], said: str):
    page = pretended(open_dashboard(), **told).open()
    expect(page.locator("#banners")).to_contain_text(said)


@pytest.mark.parametrize("width", WIDTHS)
def test_it_says_how_far_limits_may_be_passed_and_what_the_gateway_refuses(
    open_dashboard: Any, width: int
):
    worst = {"policy": "me", "limit": "udid", "more": 2, "quantity": 5, "window_s": 300}
    bound = {"slots": 7, "percent": 40, "worst": worst, "open": ["login"]}
    dashboard = open_dashboard(viewport={"width": width, "height": 900})
    pretended(
        dashboard,
        cells={"sockets_over_cap": 3, "push_p95": 42},
        bound={**bound, "apart": 2, "silent": 1, "processes": 5},
        limits={"slots": 500},
    )
    page = dashboard.open()
    expect(page.locator("#store .word")).to_have_text("2 of 5 processes keep limits locally")
    expect(page.locator("#excess-slots")).to_have_text("7")
    expect(page.locator("#excess-part")).to_have_text("40 %")
    expect(page.locator("#store li")).to_have_text(
        [
            "If others are given their slots anew, 7 requests more than 500 run at once.",
            "One account may have 2 more than its 5 in 300 s: udid of me.",
            "Nobody is limited meanwhile in: login.",
            "Not heard of for 3 s, perhaps ended: 1.",
        ]
    )
    expect(page.locator("#saturated .word")).to_have_text("Limits may be passed")
    expect(page.locator("#refused .number")).to_have_text("3")
    expect(page.locator("#refused dl")).to_have_text("Sockets over a cap3")
    expect(page.locator("#serving dl")).to_contain_text("42 ms")
    assert fits(page)
    assert page.evaluate(FAINT) == []


def pretended(
    dashboard: Dashboard, *, cells: dict[str, float] | None = None, **told: Any
) -> Dashboard:
    """The page hears this, and nothing from the process."""
    found = {**dict.fromkeys(columns(), 0), "at": 1_000_000_000, **(cells or {})}
    now = {
        "scope": "fleet",
        "row": list(found.values()),
        "processes": [],
        "refusals": [],
        "checks": {},
        "limits": {},
        **told,
    }
    history = json.dumps({"columns": columns(), "rows": []})
    body = f"event: history\ndata: {history}\n\nevent: now\ndata: {json.dumps(now)}\n\n"

    def pretend(route: Route) -> None:
        route.fulfill(body=body, content_type="text/event-stream")

    dashboard.page.route("**/ops/stream/", pretend)
    return dashboard
