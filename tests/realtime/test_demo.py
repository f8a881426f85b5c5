"""The demonstration television's page: where it exists, what it may load, and in which words."""

import pytest

PATH = "/demo/tv/"


@pytest.fixture
def demo(settings):
    settings.DEMO = True
    settings.REALTIME_URL = "https://wait.tv.example.com:8443"
    return settings


def test_without_the_setting_there_is_no_such_page(client, settings):
    settings.DEMO = False
    assert client.get(PATH).status_code == 404


def test_it_is_off_unless_somebody_asks_for_it():
    from stabilizer.env import Env

    assert Env.model_fields["demo"].default is False


def test_it_is_there_without_a_query_and_no_cache_keeps_it(
    client, demo, django_assert_num_queries, db
):
    with django_assert_num_queries(0):
        page = client.get(PATH)
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]


def test_nothing_is_posted_to_it(client, demo):
    assert client.post(PATH).status_code == 405


@pytest.mark.parametrize(
    ("realtime_url", "source"),
    [
        ("https://wait.tv.example.com:8443", "wss://wait.tv.example.com:8443"),
        ("http://127.0.0.1:9001", "ws://127.0.0.1:9001"),
    ],
)
def test_the_page_may_talk_to_this_service_and_the_gateway_and_nobody_else(
    client, demo, realtime_url, source
):
    demo.REALTIME_URL = realtime_url
    told = client.get(PATH)["Content-Security-Policy"]
    policy = dict(each.split(" ", 1) for each in told.split("; "))
    assert policy == {
        "default-src": "'self'",
        "connect-src": f"'self' {source}",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }


def test_nothing_in_it_is_written_inline(client, demo):
    page = client.get(PATH).content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count("<script src=")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Sign this screen in", "Show a new code", "Reconnecting in {seconds} s")),
        ("es", ("Inicie sesión", "Mostrar un código nuevo", "Nueva conexión en {seconds} s")),
    ],
)
def test_it_speaks_the_language_of_who_looks_at_it(client, demo, language, words):
    page = client.get(PATH, headers={"Accept-Language": language})
    text = page.content.decode()
    assert f'<html lang="{language}">' in text
    assert [each for each in words if each not in text] == []
