"""Whom the gate refuses in a browser: a page instead of a problem document, for people only."""

import asyncio
import re
from dataclasses import replace

import pytest
from django.test import Client as Browser

from ratelimit.gcra import Limit
from stabilizer.gate import page, policy
from stabilizer.gate.answers import OVERLOADED
from stabilizer.gate.body import SMALL, Patience
from stabilizer.gate.headers import Headers
from stabilizer.gate.policy import DEFAULTS, Rule
from tests.stabilizer.gate.door import Connection, Door

#: As Firefox and Chromium send it.
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SPANISH = {**BROWSER, "accept-language": "es-MX,es;q=0.9,en;q=0.8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
WRONG = b"username=admin&password=wrong"
PAGES = (
    ("POST", "/accounts/login/"),
    ("POST", "/admin/login/"),
    ("POST", "/activate/"),
    ("POST", "/activate/a-signed-ticket/"),
    ("GET", "/activate/"),
    ("GET", "/accounts/login/"),
    ("GET", "/admin/"),
    ("GET", "/"),
)
PROGRAMS = (
    ("POST", "/api/v1/pairings/"),
    ("GET", "/api/v1/no-such-call/"),
    ("POST", "/api/no-such-version/"),
    ("POST", "/oauth/token"),
    ("GET", "/oauth/no-such-endpoint"),
    ("GET", "/.well-known/no-such-document"),
    ("GET", "/static/stabilizer/pages.css"),
)


def text(reply) -> str:
    return reply.body.decode()


def refreshes(reply) -> list[str]:
    return re.findall(r'<meta http-equiv="refresh" content="(\d+)">', text(reply))


@pytest.fixture
def full(gate):
    """A gate without a slot, whose requests wait for none."""
    gate.control.slots.resize(0)
    policy.table.swap({name: replace(each, wait_ms=0) for name, each in DEFAULTS.items()})
    return Door(gate)


async def fail_to_log_in(door, headers=BROWSER):
    replies = [
        await door.knock("POST", "/accounts/login/", headers={**FORM, **headers}, content=WRONG)
        for _ in range(6)
    ]
    return replies[-1]


async def test_a_person_who_tried_too_often_is_told_when_to_return(door, app):
    app.status = 401
    reply = await fail_to_log_in(door)
    assert reply.status == 429
    assert reply["content-type"] == "text/html; charset=utf-8"
    assert reply["content-length"] == str(len(reply.body))
    assert reply["cache-control"] == "no-store"
    assert reply["retry-after"] == "180"
    assert '"person";r=0;t=180' in reply["ratelimit"]
    assert '"person";q=5;w=900' in reply["ratelimit-policy"]
    assert '<html lang="en">' in text(reply)
    assert "Please try again in 3 minutes." in text(reply)
    assert "rate_limited" in text(reply)
    assert reply["x-request-id"] in text(reply)
    assert '<link rel="stylesheet" href="/static/stabilizer/pages.css">' in text(reply)


async def test_what_was_posted_is_not_sent_again_by_itself(door, app):
    app.status = 401
    reply = await fail_to_log_in(door)
    assert refreshes(reply) == []
    assert "Back to the form" in text(reply)
    assert b"admin" not in reply.body


async def test_a_program_that_takes_anything_gets_the_problem_document(door, app):
    app.status = 401
    for accept in ({}, {"accept": "*/*"}, {"accept": "application/json, text/html;q=0.5"}):
        reply = await fail_to_log_in(door, accept)
        assert (reply.status, reply["content-type"]) == (429, "application/problem+json")
        assert reply.problem["code"] == "rate_limited"


@pytest.mark.parametrize(("method", "path"), PAGES)
async def test_in_an_overload_every_page_is_refused_with_a_page(full, method, path, app):
    reply = await full.knock(method, path, headers=BROWSER)
    assert (reply.status, reply["content-type"]) == (503, "text/html; charset=utf-8")
    assert int(reply["retry-after"]) >= 1
    assert "Back in a moment" in text(reply)
    assert refreshes(reply) == ([reply["retry-after"]] if method == "GET" else [])
    assert app.paths == []


@pytest.mark.parametrize(("method", "path"), PROGRAMS)
async def test_a_path_for_programs_answers_a_browser_with_a_problem_document(
    full, known, method, path
):
    reply = await full.knock(method, path, headers=BROWSER)
    assert (reply.status, reply["content-type"]) == (503, "application/problem+json")
    assert reply.problem["code"] == "overloaded"


async def test_a_limit_that_cannot_be_checked_is_told_as_our_fault(door, gate):
    rule = Rule(Limit("few", 5, 60, "closed"), ("network",), "default.few")
    policy.table.swap({**DEFAULTS, "default": replace(DEFAULTS["default"], rules=(rule,))})
    for _ in range(3):
        gate.control.limiter.store.health.failed()
    reply = await door.knock(headers=BROWSER)
    assert reply.status == 503
    assert "Back in a moment" in text(reply)
    assert "limits_unavailable" in text(reply)


async def test_a_form_that_is_too_large_is_refused_with_a_page(door):
    reply = await door.knock(
        "POST", "/accounts/login/", headers={**FORM, **BROWSER}, content=b"x" * (SMALL + 1)
    )
    assert (reply.status, reply["connection"]) == (413, "close")
    assert "What you sent is larger than we accept here." in text(reply)


async def test_a_form_that_does_not_arrive_is_refused_with_a_page(door, gate):
    gate.patience = Patience(timeout_s=0.02)
    headers = {**FORM, **BROWSER, "content-length": "9"}
    reply = await asyncio.wait_for(
        door.knock("POST", "/accounts/login/", headers=headers, connection=Connection([])), 5
    )
    assert (reply.status, reply["connection"]) == (408, "close")
    assert "What you sent did not arrive in time." in text(reply)


async def test_the_page_speaks_the_language_of_the_browser(full):
    reply = await full.knock(path="/activate/", headers=SPANISH)
    assert '<html lang="es">' in text(reply)
    assert "Volvemos enseguida" in text(reply)


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ({}, "en"),
        ({b"accept-language": b"es"}, "es"),
        ({b"accept-language": b"fr-CA, ES-419;q=0.7, en;q=0.3"}, "es"),
        ({b"accept-language": b"en-GB,es;q=0.5"}, "en"),
        ({b"accept-language": b"fr, *;q=0.1"}, "en"),
        ({b"accept-language": b";;q=,,\xff" * 999}, "en"),
        ({b"accept-language": b"en", b"cookie": b"django_language=es"}, "es"),
        ({b"accept-language": b"es", b"cookie": b"django_language=../x"}, "es"),
    ],
)
def test_what_was_chosen_on_a_page_comes_before_what_the_browser_asks_for(wanted, language):
    html = page.render(OVERLOADED, Headers(wanted.items()), "d", wait_s=1, is_get=True).decode()
    assert f'<html lang="{language}">' in html


@pytest.mark.parametrize(
    ("seconds", "english", "spanish"),
    [
        (1, "in 1 second.", "en 1 segundo."),
        (90, "in 90 seconds.", "en 90 segundos."),
        (91, "in 2 minutes.", "en 2 minutos."),
        (5401, "in 2 hours.", "en 2 horas."),
    ],
)
def test_the_time_until_return_is_said_as_people_say_it(seconds, english, spanish):
    for language, said in ((b"en", english), (b"es", spanish)):
        headers = Headers([(b"accept-language", language)])
        assert said in page.render(OVERLOADED, headers, "d", wait_s=seconds, is_get=False).decode()


@pytest.mark.parametrize("accept", [BROWSER["accept"], "text/html", "TEXT/HTML;level=1;q=0.4"])
def test_a_browser_prefers_html(accept):
    assert Headers([(b"accept", accept.encode())]).prefers_html


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/*",
        "text/html;q=0",
        "application/json, text/plain, */*",
        "application/problem+json, text/html;q=0.9",
        "," * 99_999,
        ";q=;q=q" * 9_999,
    ],
)
def test_who_does_not_name_html_first_prefers_json(accept):
    assert not Headers([(b"accept", accept.encode())]).prefers_html


def test_every_language_has_words_for_every_status_and_so_do_the_pages(settings):
    assert set(page.LANGUAGES) == {code for code, _ in settings.LANGUAGES}
    assert {frozenset(words.refusals) for words in page.LANGUAGES.values()} == {page.STATUSES}


@pytest.mark.django_db
def test_the_stylesheet_is_that_of_the_other_pages():
    link = re.compile(r'<link rel="stylesheet" href="([^"]+)">')
    refusal = page.render(OVERLOADED, Headers([]), "d", wait_s=1, is_get=True).decode()
    login = Browser().get("/accounts/login/").content.decode()
    assert set(link.findall(refusal)) == set(link.findall(login)) != set()
