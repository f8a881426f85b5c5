"""Bodies are taken literally; what is wrong with them is the client's mistake, never a 500."""

import json
import time
from collections import Counter

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.test import Client
from rest_framework.exceptions import ParseError

from accounts import answers, strict
from ratelimit.herd import FIRST_RATE, PROMISED
from tests import bad_input
from tests.bad_input import Endpoint, check_refused

pytestmark = pytest.mark.urls("tests.accounts.things")

THINGS = Endpoint("POST", "/api/things/", {"name": "x", "kind": "tv"})


def post(body, path="/api/things/", **options):
    return Client(raise_request_exception=False).post(
        path, body, content_type="application/json", **options
    )


@pytest.mark.parametrize("bad", bad_input.unreadable(THINGS), ids=str)
def test_an_unreadable_body_is_a_problem_with_a_stable_code(client, bad):
    check_refused(client, THINGS, bad)


@pytest.mark.parametrize("bad", bad_input.mistyped(THINGS), ids=str)
def test_a_value_of_another_type_is_invalid_and_not_converted(client, bad):
    check_refused(client, THINGS, bad)


@pytest.mark.parametrize("bad", bad_input.hostile(THINGS), ids=str)
def test_a_hostile_text_does_not_come_back_as_markup(client, bad):
    check_refused(client, THINGS, bad)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", "7"),
        ("size", 7.0),
        ("size", True),
        ("ratio", "0.5"),
        ("ratio", False),
        ("smart", "true"),
        ("smart", 1),
        ("tags", "x"),
        ("tags", ["x", 7]),
        ("place", "Lyon"),
        ("place", {"city": 7}),
        ("place", {"city": "Lyon", "zip": "69000"}),
        ("number", "7"),
        ("name", None),
    ],
)
def test_no_field_is_coerced(name, value):
    response = post({"name": "x", name: value})
    assert response.status_code == 400
    errors = response.json()["errors"]
    assert errors[0]["pointer"].startswith(f"/{name}")


def test_a_body_of_right_types_is_taken_as_it_is():
    body = {
        "name": "Fernseher é 📺",
        "kind": "tv",
        "size": 7,
        "ratio": 1,
        "smart": False,
        "tags": ["a", "b"],
        "place": {"city": "Lyon"},
        "shape": {"any": [1, None, {"x": True}]},
    }
    response = post(body)
    assert response.status_code == 200
    assert response.json() == body


def test_each_wrong_value_is_pointed_at():
    document = post({"kind": "radio", "size": 1000}).json()
    assert document["code"] == "invalid"
    assert {(error["pointer"], error["code"]) for error in document["errors"]} == {
        ("/name", "required"),
        ("/kind", "invalid_choice"),
        ("/size", "max_value"),
    }


def test_of_ten_thousand_wrong_names_twenty_are_told():
    response = post({f"x{number}": 1 for number in range(3000)})
    assert response.json()["code"] == "unknown_field"
    assert len(response.json()["errors"]) == 20


def test_a_body_may_nest_thirty_two_deep_and_no_deeper():
    def nested(depth):
        return {"name": "x", "shape": json.loads("[" * depth + "]" * depth)}

    assert post(nested(31)).status_code == 200
    assert post(nested(32)).status_code == 400


def test_brackets_inside_a_text_do_not_nest():
    assert post({"name": "[" * 50 + '"' + "{" * 49}).status_code == 200


def test_the_largest_body_is_64_kilobytes():
    def padded(size):
        return b'{"name": "x"' + b" " * (size - 13) + b"}"

    assert post(padded(strict.BODY_BYTES)).status_code == 200
    assert post(padded(strict.BODY_BYTES + 1)).status_code == 413


@pytest.mark.parametrize("piece", [b'"', b'\\"', b'"\\', b"[]", b'{"a":', b"\\u0000", b"\xc3\xa9"])
def test_reading_the_worst_body_takes_no_longer_than_its_length(piece):
    """64 KB of what makes naive scanners quadratic: linear ones need some 10 ms."""
    body = b'{"x": "' + piece * (65_000 // len(piece))
    began = time.process_time()
    with pytest.raises(ParseError):
        strict.loads(body)
    assert time.process_time() - began < 0.5


def test_an_empty_body_lacks_its_fields():
    response = post(b"")
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_a_form_is_read_and_a_repeated_parameter_refused(client):
    kind = "application/x-www-form-urlencoded"
    assert client.post("/api/form/", b"name=a+b%C3%A9", kind).json() == {"name": "a bé"}
    for body in (b"name=a&name=b", b"name=%ff", b"name=%00", b"x=1&" * 60, b"\xff"):
        response = client.post("/api/form/", body, kind)
        assert (response.status_code, response.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("database", "database_unavailable"),
        ("interface", "database_unavailable"),
        ("audit", "audit_unavailable"),
    ],
)
def test_a_dead_dependency_is_503_with_a_time_to_return(fault, code):
    response = post({"fault": fault}, "/api/failing/")
    assert (response.status_code, response.json()["code"]) == (503, code)
    assert int(response["Retry-After"]) > 0


@pytest.mark.parametrize("fault", ["database", "interface", "audit"])
def test_a_page_for_people_is_503_too(client, fault):
    response = client.get("/page/", {"fault": fault})
    assert (response.status_code, response["Content-Type"][:9]) == (503, "text/html")
    assert int(response["Retry-After"]) > 0


def test_those_sent_away_by_a_dead_database_do_not_return_all_at_once():
    seconds = Counter(int(time.monotonic()) + int(answers.retry_after()) for _ in range(400))
    assert max(seconds.values()) <= FIRST_RATE * PROMISED


def test_a_session_that_cannot_be_saved_is_503(monkeypatch):
    def fail(*_, **__):
        raise OperationalError(2006, "server has gone away")

    monkeypatch.setattr(SessionStore, "save", fail)
    browser = Client(raise_request_exception=False)
    response = browser.get("/page/", {"fault": "session"})
    assert response.status_code == 503


def test_a_bug_is_a_problem_that_tells_nothing():
    response = post({"fault": "bug"}, "/api/failing/")
    assert (response.status_code, response.json()["code"]) == (500, "server_error")
    assert b"secret" not in response.content


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing/", 404, "not_found"),
        ("POST", "/api/things", 404, "not_found"),
        ("POST", "/oauth/nothing", 404, "not_found"),
        ("GET", "/.well-known/nothing", 404, "not_found"),
        ("GET", "/api/<script>/", 404, "not_found"),
        ("GET", "/api/things/", 405, "method_not_allowed"),
        ("BREW", "/api/things/", 405, "method_not_allowed"),
    ],
)
def test_what_the_api_does_not_have_is_a_problem(client, method, path, status, code):
    response = client.generic(method, path)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert b"<" not in response.content


def test_a_method_that_is_refused_is_told_which_are_not(client):
    assert client.get("/api/things/")["Allow"] == "POST, OPTIONS"


def test_an_unknown_page_for_people_stays_a_page(client):
    response = client.get("/nothing/")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_an_unknown_host_is_a_problem(client):
    response = client.get("/api/things/", headers={"host": "evil.example"})
    assert (response.status_code, response.json()["code"]) == (400, "malformed")


def test_a_form_of_too_many_bytes_is_413(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = client.post("/accounts/login/", {"username": "x" * 2000})
    assert response.status_code == 413
