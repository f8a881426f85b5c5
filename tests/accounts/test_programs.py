"""Programs take the short way to the view and are answered as the long one would answer them."""

import pytest
from django.conf import settings
from django.test import Client as Browser
from django.utils import translation

from accounts import programs
from accounts.models import User
from accounts.programs import ProgramsMiddleware

ME = "/api/v1/me/"
#: What a call without a cookie may lack: it names no language that the answer varies by.
LONG_ONLY = {"Vary", "Content-Language"}


@pytest.fixture
def went(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which requests went the long way, by their paths."""
    paths: list[str] = []
    through = ProgramsMiddleware.__call__

    def told(self, request):
        long = self.get_response

        def noted(asked):
            paths.append(asked.path)
            return long(asked)

        self.get_response = noted
        try:
            return through(self, request)
        finally:
            self.get_response = long

    monkeypatch.setattr(ProgramsMiddleware, "__call__", told)
    return paths


def bearer(key) -> dict[str, str]:
    return {"authorization": f"Bearer {key[1]}"}


def test_a_call_with_a_key_passes_no_middleware_for_people(client, key, went):
    assert client.get(ME, headers=bearer(key)).status_code == 200
    assert went == []


def test_pages_and_calls_that_bring_a_cookie_go_the_long_way(client, tenant, went):
    person = User.objects.create_user("ana", password="x", tenant=tenant)
    client.force_login(person)
    assert client.get(ME).json()["kind"] == "person"
    assert client.get("/accounts/login/").status_code == 200
    assert went == [ME, "/accounts/login/"]


@pytest.mark.parametrize("path", [ME, "/api/v1/subscribers/", "/api/v1/nothing/", "/api/nothing"])
def test_both_ways_give_the_same_answer(client, key, path):
    short = client.get(path, headers=bearer(key))
    long = Browser(headers={"cookie": "a=b"}).get(path, headers=bearer(key))
    assert (short.status_code, short.content) == (long.status_code, long.content)
    lacking = {name for name in long.headers if name not in short.headers}
    assert lacking <= LONG_ONLY
    assert all(short.headers[name] == long.headers[name] for name in short.headers)


@pytest.mark.parametrize("cookie", ["", "a=b"])
def test_a_host_that_is_not_ours_is_refused_on_both_ways(client, key, cookie):
    headers = bearer(key) | {"host": "evil.example"} | ({"cookie": cookie} if cookie else {})
    answer = client.get(ME, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_what_is_wrong_is_told_in_the_language_asked_for_and_the_next_caller_has_his_own(client):
    def told(language: str) -> str:
        answer = client.post(
            "/api/v1/pairings/",
            {"app_type": "tv", "model": "x" * 101},
            content_type="application/json",
            headers={"accept-language": language} if language else {},
        )
        return str(answer.json()["errors"][0]["detail"])

    assert "100 caracteres" in told("es-MX,es;q=0.9,en;q=0.5")
    assert "100 characters" in told("")
    assert translation.get_language() == settings.LANGUAGE_CODE


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("es", "es"),
        ("fr,es;q=0.5", "es"),
        ("fr", "en"),
        ("*", "en"),
        ("", "en"),
        ("x" * 10_000, "en"),
        ("es;q=0,en", "en"),
    ],
)
def test_the_best_language_we_speak_is_found(accepted: str, language: str):
    assert programs._language(accepted) == language
