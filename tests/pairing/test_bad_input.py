"""Bad input on every endpoint that takes a body (fault 24): 400, 413 or 415, and a code."""

import pytest

from pairing.models import Pairing
from tests.bad_input import BadBody, Endpoint, check_refused, hostile, mistyped, unreadable
from tests.pairing.conftest import HTTP, Operator

CREATE = Endpoint(
    "POST",
    "/api/v1/pairings/",
    {
        "app_type": "android_tv",
        "client_id": "acme-tv",
        "udid": "a-television-of-mine",
        "model": "OLED55",
        "os": "14",
        "name": "Living room",
    },
)
BY_OPERATORS = (
    Endpoint(
        "POST",
        "/api/v1/pairings/associate/",
        {"user_code": "BBBB-BBBB", "subscriber_code": "S-1", "sn": "C-1"},
    ),
    Endpoint("POST", "/api/v1/pairings/deny/", {"user_code": "BBBB-BBBB"}),
    Endpoint("PATCH", "/api/v1/devices/a-television-of-mine/", {"name": "Living room"}),
    Endpoint("POST", "/api/v1/devices/a-television-of-mine/revoke/", {"reason": "sold"}),
    Endpoint("POST", "/api/v1/subscribers/S-1/devices/revoke/", {"reason": "moved"}),
    Endpoint("PUT", "/api/v1/subscribers/S-9/", {"name": "Ines", "state": "active"}),
)
#: Their bodies are empty, so whatever comes is too much.
BY_DEVICES = tuple(
    Endpoint("POST", f"/api/v1/pairings/a-television-of-mine/{act}/", {})
    for act in ("renew", "credentials", "ack")
)


def cases(endpoints: tuple[Endpoint, ...], *kinds) -> list:
    return [
        pytest.param(endpoint, bad, id=f"{endpoint} {bad}")
        for endpoint in endpoints
        for kind in kinds
        for bad in kind(endpoint)
    ]


@pytest.mark.parametrize(("endpoint", "bad"), cases((CREATE,), unreadable, mistyped, hostile))
def test_a_device_is_told_what_is_wrong(operator: Operator, endpoint: Endpoint, bad: BadBody):
    response = check_refused(HTTP, endpoint, bad)
    assert Pairing.objects.count() == (response.status_code == 201)


@pytest.mark.parametrize(("endpoint", "bad"), cases(BY_OPERATORS, unreadable, mistyped, hostile))
def test_an_operator_is_told_what_is_wrong(operator: Operator, endpoint: Endpoint, bad: BadBody):
    known = {"Authorization": f"Bearer {operator.bearer}"}
    check_refused(HTTP, Endpoint(endpoint.method, endpoint.path, endpoint.valid, known), bad)


@pytest.mark.parametrize(("endpoint", "bad"), cases(BY_DEVICES, unreadable))
def test_a_call_without_a_body_takes_none(operator: Operator, endpoint: Endpoint, bad: BadBody):
    check_refused(HTTP, endpoint, bad)


@pytest.mark.parametrize(
    "query",
    ["search=" + "x" * 65, "limit=0", "limit=x", "limit=99999", "after=" + "x" * 65, "page=2"],
)
@pytest.mark.parametrize("path", ["/api/v1/devices/", "/api/v1/subscribers/"])
def test_a_wrong_query_is_refused(operator: Operator, path: str, query: str):
    response = HTTP.get(f"{path}?{query}", headers={"Authorization": f"Bearer {operator.bearer}"})
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("text", ["%00", "%ED%A0%80", "%25", "'%20OR%201=1", "<script>"])
@pytest.mark.parametrize("path", ["/api/v1/devices/", "/api/v1/subscribers/"])
def test_a_hostile_query_breaks_nothing(operator: Operator, path: str, text: str):
    known = {"Authorization": f"Bearer {operator.bearer}"}
    for name in ("search", "after", "subscriber_code"):
        response = HTTP.get(f"{path}?{name}={text}", headers=known)
        assert response.status_code in (200, 400)
        assert b"<" not in response.content
