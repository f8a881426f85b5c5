"""The demonstration television in a real browser, with a real gateway, and with a pretended one."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from dev import ports
from pairing.models import Pairing, State
from tests.browser import test_activate
from tests.browser.test_activate import contrast_of, fits, sign_in
from tests.stabilizer import processes

pytestmark = pytest.mark.processes
chromium = test_activate.chromium
site = test_activate.site

SIZES = ((1280, 720), (1920, 1080), (360, 740))
#: A timer may fire this much before its time.
EARLY_S = 0.02


class Gateway:
    """A process of role `realtime` that can be ended and started again on the same port."""

    def __init__(self, site: str) -> None:
        self.port = ports.free_pair()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = processes.environment(PUBLIC_URL=site, REALTIME_URL=self.url)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ("-m", "stabilizer.server", "realtime", "--port", str(self.port))
        self._process = subprocess.Popen([sys.executable, *words], env=self._env)
        processes.wait_for_server(self.port)

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


@pytest.fixture
def gateway(site: str, settings: Any) -> Iterator[Gateway]:
    """The site's gateway; it does not run yet."""
    gateway = Gateway(site)
    settings.DEMO, settings.PUBLIC_URL, settings.REALTIME_URL = True, site, gateway.url
    yield gateway
    gateway.end()


class Television:
    """The page, and what its console complains of."""

    def __init__(self, chromium: Browser, site: str, **how: Any) -> None:
        self.complaints: list[str] = []
        self.page = chromium.new_page(locale="en", **how)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._site = site

    def open(self, query: str = "") -> Page:
        self.page.goto(f"{self._site}/demo/tv/{query}")
        return self.page

    @property
    def code(self) -> str:
        code = self.page.locator("#code")
        expect(code).not_to_be_empty()
        return code.inner_text()

    def expect_title(self, title: str, timeout_s: float = 5) -> None:
        heading = self.page.get_by_role("heading", level=1)
        expect(heading).to_have_text(title, timeout=timeout_s * 1000)

    def expect_connection(self, kind: str, timeout_s: float = 5) -> None:
        connection = self.page.locator("#connection")
        expect(connection).to_have_attribute("data-kind", kind, timeout=timeout_s * 1000)


@pytest.fixture
def television(chromium: Browser, site: str) -> Iterator[Television]:
    television = Television(chromium, site, viewport={"width": 1280, "height": 720})
    yield television
    television.page.close()


def answer(chromium: Browser, site: str, code: str, button: str) -> None:
    """A person at a page of their own types the code and presses `button`."""
    page = chromium.new_page(locale="en")
    sign_in(page, site)
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("button", name=button)).to_have_count(0)
    page.close()


def states() -> list[str]:
    return list(Pairing.objects.order_by("created_at").values_list("state", flat=True))


def wait_for_state(*wanted: str) -> None:
    deadline = time.monotonic() + 5
    while states() != list(wanted):
        assert time.monotonic() < deadline, states()
        time.sleep(0.05)


# With a real gateway.


def test_a_screen_is_signed_in_as_soon_as_it_is_approved(
    chromium: Browser, site: str, gateway: Gateway, television: Television
):
    gateway.start()
    page = television.open()
    television.expect_connection("live")
    expect(page.locator("#address")).to_have_text(site.removeprefix("http://") + "/activate")
    expect(page.locator("#qr path")).to_have_count(1)
    answer(chromium, site, television.code, "Approve")

    television.expect_title("Signed in", 2)
    expect(page.locator("#subscriber")).to_have_text("S-1")
    expect(page.locator("#smartcard")).to_have_text("C-1")
    television.expect_connection("over")
    wait_for_state(State.ACKNOWLEDGED)
    assert "anna" not in page.content()
    assert television.complaints == []


def test_a_denied_screen_shows_a_new_code_when_it_is_asked_to(
    chromium: Browser, site: str, gateway: Gateway, television: Television
):
    gateway.start()
    page = television.open()
    television.expect_connection("live")
    first = television.code
    answer(chromium, site, first, "Deny")

    television.expect_title("Denied", 2)
    expect(page.get_by_role("button", name="Show a new code")).to_be_focused()
    page.keyboard.press("Enter")
    television.expect_connection("live")
    television.expect_title("Sign this screen in")
    assert television.code != first
    wait_for_state(State.DENIED, State.PENDING)
    assert television.complaints == []


def test_the_code_is_renewed_before_it_dies_and_the_new_one_signs_in(
    chromium: Browser, site: str, gateway: Gateway, television: Television
):
    gateway.start()
    # A code lives for 600 s: this is to renew it 4 s after it was made.
    page = television.open("?renew_before_s=596")
    television.expect_connection("live")
    first = television.code
    expect(page.locator("#code")).not_to_have_text(first, timeout=10_000)
    expect(page.locator("#heard")).to_contain_text(" ".join(television.code))
    answer(chromium, site, Pairing.objects.get().user_code, "Approve")

    television.expect_title("Signed in", 2)
    wait_for_state(State.ACKNOWLEDGED)
    assert television.complaints == []


def test_a_gateway_that_was_killed_is_found_again_and_nothing_is_lost(
    chromium: Browser, site: str, gateway: Gateway, television: Television
):
    gateway.start()
    television.open()
    television.expect_connection("live")
    code = television.code
    gateway.end()
    answer(chromium, site, code, "Approve")
    gateway.start()

    # Whichever way is open first: that of the new gateway, or polling meanwhile.
    television.expect_title("Signed in", 15)
    wait_for_state(State.ACKNOWLEDGED)


#: Notes in the page itself when a WebSocket is opened, and what is heard over it when.
NOTES = """window.notes = [];
window.WebSocket = class extends WebSocket {
  constructor(...how) {
    super(...how);
    notes.push(["open", performance.now()]);
    this.addEventListener("message", (event) => notes.push([event.data, performance.now()]));
  }
};"""


def test_a_gateway_that_is_restarted_says_when_to_come_back_and_is_obeyed(
    gateway: Gateway, television: Television
):
    gateway.start()
    television.page.add_init_script(NOTES)
    page = television.open()
    television.expect_connection("live")
    gateway.end(signal.SIGTERM)
    gateway.start()
    television.expect_connection("live", 40)

    notes = page.evaluate("notes")
    found = next(place for place, (what, _) in enumerate(notes) if '"bye"' in what)
    bye = json.loads(notes[found][0])
    again_ms = next(at_ms for what, at_ms in notes[found:] if what == "open")
    assert bye["code"] == "draining"
    assert again_ms - notes[found][1] >= bye["retry_after_ms"] - 1
    assert states() == [State.PENDING]


def test_without_a_gateway_the_screen_polls_and_takes_the_websocket_when_it_is_back(
    chromium: Browser, site: str, gateway: Gateway, television: Television
):
    page = television.page
    page.clock.install()
    television.open()
    television.expect_connection("polling", 10)
    expect(page.locator("#connection")).to_have_text("Polling: this screen asks every 5 s")
    gateway.start()
    page.clock.fast_forward(30_000)
    television.expect_connection("live", 10)
    answer(chromium, site, television.code, "Approve")

    television.expect_title("Signed in", 2)
    wait_for_state(State.ACKNOWLEDGED)


def test_a_polling_screen_is_signed_in_and_acknowledges(
    chromium: Browser, site: str, gateway: Gateway, television: Television
):
    television.open("?renew_before_s=594")
    television.expect_connection("polling", 10)
    first = television.code
    expect(television.page.locator("#code")).not_to_have_text(first, timeout=15_000)
    answer(chromium, site, television.code, "Approve")

    television.expect_title("Signed in", 15)
    wait_for_state(State.ACKNOWLEDGED)


# With a gateway that says what the test wants it to.


FINISHED = {"type": "bye", "code": "finished"}


class Pretended:
    """Answers each hello with the next of `scripts`, each ack with the end, and keeps what is said.

    A number in a script is a close code.
    """

    def __init__(self, page: Page, *scripts: list[Any]) -> None:
        self.said: list[dict[str, Any]] = []
        self.opened: list[float] = []
        self._scripts = list(scripts)
        page.route_web_socket("**/ws/pairings/", self._take)

    def _take(self, socket: WebSocketRoute) -> None:
        self.opened.append(time.monotonic())
        script = self._scripts.pop(0) if self._scripts else []

        def hear(text: str | bytes) -> None:
            message = json.loads(text)
            self.said.append(message)
            answers = {"hello": script, "ack": [FINISHED, 4510]}
            for each in answers.get(message["type"], []):
                if isinstance(each, int):
                    socket.close(code=each)
                else:
                    socket.send(json.dumps(each))

        socket.on_message(hear)

    def wait_for(self, page: Page, kind: str, count: int = 1) -> None:
        for _ in range(100):
            if sum(each["type"] == kind for each in self.said) >= count:
                return
            page.wait_for_timeout(50)
        raise AssertionError(self.said)


def pending(version: int, user_code: str, expires_in: int = 600) -> dict[str, Any]:
    return {
        "type": "pending",
        "version": version,
        "expires_in": expires_in,
        "interval": 5,
        "user_code": user_code,
    }


APPROVED = {
    "type": "approved",
    "version": 9,
    "access_token": "a",
    "refresh_token": "r",
    "expires_in": 900,
    "scope": "",
    "credentials": {"subscriber_code": "S-1", "sn": "C-1", "password": "hush"},
}


def test_a_bye_is_obeyed_and_what_is_known_is_named_at_the_return(
    gateway: Gateway, television: Television
):
    bye = {"type": "bye", "code": "draining", "retry_after_ms": 3000}
    page = television.page
    pretended = Pretended(page, [pending(4, "BCDF-GHJK"), bye, 4430], [{"type": "ping"}])
    television.open()
    television.expect_connection("waiting")
    expect(page.locator("#connection")).to_have_text("Reconnecting in 3 s")
    pretended.wait_for(page, "pong")

    first, second = pretended.opened
    assert second - first >= 3 - EARLY_S
    assert [each.get("resume") for each in pretended.said] == [0, 4, None]
    assert television.code == "BCDF-GHJK"


@pytest.mark.parametrize(
    "script",
    [[{"type": "bye", "code": "unauthorized"}, 4501], [4501], [4510]],
    ids=["bye and 4501", "4501", "4510"],
)
def test_whoever_is_told_not_to_come_back_does_not(
    gateway: Gateway, television: Television, script: list[Any]
):
    page = television.page
    page.clock.install()
    pretended = Pretended(page, script)
    television.open()
    television.expect_title("That did not work")
    page.clock.fast_forward(120_000)
    page.wait_for_timeout(200)
    assert len(pretended.opened) == 1


def test_what_is_not_new_is_not_shown_and_what_ends_a_pairing_always_is(
    gateway: Gateway, television: Television
):
    old, new = pending(3, "BBBB-BBBB"), pending(4, "CCCC-CCCC")
    Pretended(television.page, [new, old, {"type": "ping"}])
    television.open()
    television.expect_connection("live")
    expect(television.page.locator("#code")).to_have_text("CCCC-CCCC")
    assert television.page.locator("#heard").inner_text() == "The code is C C C C - C C C C"

    page = television.page
    Pretended(page, [new, {"type": "expired", "version": 4}])
    television.open()
    television.expect_title("Expired")


def test_an_error_with_a_time_is_tried_again_at_that_time(gateway: Gateway, television: Television):
    page = television.page
    error = {"type": "error", "code": "rate_limited", "retry_after_ms": 1000}
    pretended = Pretended(page, [pending(2, "BCDF-GHJK", 700), error])
    television.open("?renew_before_s=699.5")
    pretended.wait_for(page, "renew", 2)
    assert [each["type"] for each in pretended.said] == ["hello", "renew", "renew"]


def test_the_last_code_of_a_pairing_is_left_to_end(gateway: Gateway, television: Television):
    page = television.page
    # The second code lives no longer than the first: renewing would be of no use.
    pretended = Pretended(page, [pending(2, "BCDF-GHJK", 700), pending(3, "KJHG-FDCB", 700)])
    television.open("?renew_before_s=699.5")
    expect(page.locator("#code")).to_have_text("KJHG-FDCB")
    page.wait_for_timeout(1500)
    assert [each["type"] for each in pretended.said] == ["hello"]


#: A client of its own, whose `store` takes a while and then does what it is told.
CLIENT = """(fails) => new Promise((resolve) => {
  window.log = [];
  const store = () => new Promise((kept, lost) => setTimeout(() => {
    window.log.push("stored"); fails ? lost(new Error("full")) : kept(); }, 300));
  const client = new PairingClient({ facts: { app_type: "tv" }, store });
  for (const type of ["state", "approved", "denied", "ended"])
    client.addEventListener(type, (event) => window.log.push(
      [type, event.detail.status || event.detail.reason || ""].join(" ").trim()));
  client.addEventListener("ended", () => resolve(window.log));
  client.start();
})"""


def with_client_stopped(television: Television) -> Page:
    page = television.open()
    page.evaluate("client.stop()")
    return page


def test_credentials_are_acknowledged_when_they_are_stored_and_not_before(
    gateway: Gateway, television: Television
):
    page = with_client_stopped(television)
    pretended = Pretended(page, [APPROVED, APPROVED])
    log = page.evaluate(CLIENT, False)
    assert log == ["state approved", "stored", "approved", "ended approved"]
    assert [each["type"] for each in pretended.said] == ["hello", "ack"]


def test_a_connection_lost_before_the_ack_is_resumed_with_it(
    gateway: Gateway, television: Television
):
    page = with_client_stopped(television)
    pretended = Pretended(page, [APPROVED, 4430], [APPROVED])
    assert page.evaluate(CLIENT, False)[-1] == "ended approved"
    # Whether it was back before the credentials were stored, or after.
    hello, again, *rest = pretended.said
    assert (hello["resume"], again["resume"]) in ((0, 0), (0, 9))
    assert [each["type"] for each in rest][:1] == ["ack"]


def test_credentials_that_could_not_be_stored_are_not_acknowledged(
    gateway: Gateway, television: Television
):
    page = with_client_stopped(television)
    pretended = Pretended(page, [APPROVED])
    log = page.evaluate(CLIENT, True)
    assert log == ["state approved", "stored", "ended not_stored"]
    assert [each["type"] for each in pretended.said] == ["hello"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_creation_is_tried_again_when_the_service_says_so(
    gateway: Gateway, television: Television, status: int
):
    page, asked = television.page, []

    def refuse_once(route: Route) -> None:
        asked.append((time.monotonic(), route.request.headers["idempotency-key"]))
        if len(asked) == 1:
            body = json.dumps({"code": "overloaded"})
            route.fulfill(status=status, headers={"Retry-After": "2"}, body=body)
        else:
            route.continue_()

    page.route("**/api/v1/pairings/", refuse_once)
    television.open()
    expect(page.locator("#connection")).to_contain_text("Many are asking. Next try in")
    television.expect_title("Sign this screen in")
    (first, key), (second, same) = asked
    assert second - first >= 2 - EARLY_S
    assert key == same


def test_a_poll_that_came_too_early_waits_for_its_time_and_keeps_the_wider_interval(
    gateway: Gateway, television: Television
):
    page, asked = television.page, []

    def slow_down_once(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            body = {"code": "slow_down", "interval": 10, "retry_after": 2}
            route.fulfill(status=429, headers={"Retry-After": "2"}, body=json.dumps(body))
        else:
            body = {"status": "denied", "expires_in": 0, "interval": 10}
            route.fulfill(status=200, body=json.dumps(body))

    page.route("**/api/v1/pairings/*/", slow_down_once)
    television.open()
    expect(page.locator("#connection")).to_have_text(
        "Polling: this screen asks every 10 s", timeout=15_000
    )
    television.expect_title("Denied")
    first, second = asked
    assert second - first >= 2 - EARLY_S


# What it looks like.


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_and_every_text_stands_out_in_every_state(
    chromium: Browser, site: str, gateway: Gateway, width: int, height: int
):
    television = Television(chromium, site, viewport={"width": width, "height": height})
    Pretended(television.page, [pending(2, "WWWW-MMMM"), {"type": "ping"}])
    page = television.open()
    television.expect_connection("live")
    for screen in ("code", "asking", "approved", "denied", "expired", "revoked", "failed"):
        page.evaluate("screen => show(screen)", screen)
        assert (screen, fits(page), contrast_of(page)) == (screen, True, [])
        if width > height:
            whole = "document.documentElement.scrollHeight <= innerHeight"
            assert (screen, page.evaluate(whole)) == (screen, True)
    page.close()


def test_it_speaks_spanish_to_who_does(chromium: Browser, site: str, gateway: Gateway):
    television = Television(chromium, site)
    television.page.close()
    page = chromium.new_page(locale="es")
    Pretended(page, [pending(2, "BCDF-GHJK")])
    page.goto(f"{site}/demo/tv/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Inicie sesión en esta pantalla")
    expect(page.locator("#connection")).to_have_text(
        "En directo: la respuesta llega en cuanto se da"
    )
    page.close()
