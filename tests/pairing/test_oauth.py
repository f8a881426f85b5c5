"""The OAuth endpoints, with the RFCs' own words: 8628, 6749, 7009, 8414."""

from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.db import OperationalError, connection

from accounts import snapshot, tokens
from accounts.models import Client, RefreshToken
from pairing.models import Pairing, State
from tests.conftest import MovableClock
from tests.pairing.conftest import HTTP, SECRETS, Caller, Device, Operator

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
FORM = "application/x-www-form-urlencoded"


def post(path: str, fields: dict[str, str] | list[tuple[str, str]], **headers: str) -> Any:
    return HTTP.post(path, urlencode(fields), content_type=FORM, headers=headers)


def authorize(**fields: str) -> dict[str, Any]:
    response = post("/oauth/device_authorization", {"client_id": "acme-tv", **fields})
    assert response.status_code == 200, response.content
    return response.json()


def exchange(device_code: str, client_id: str = "acme-tv") -> Any:
    fields = {"grant_type": DEVICE_GRANT, "device_code": device_code, "client_id": client_id}
    return post("/oauth/token", fields)


def refresh(token: str, client_id: str = "acme-tv") -> Any:
    fields = {"grant_type": "refresh_token", "refresh_token": token, "client_id": client_id}
    return post("/oauth/token", fields)


def error_of(response: Any) -> tuple[int, str]:
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"].startswith("application/json")
    return response.status_code, response.json()["error"]


def approve(operator: Operator, told: dict[str, Any], code: str = "S-1", **more: str) -> None:
    body = {"user_code": told["user_code"], "subscriber_code": code, **more}
    assert operator.associate(**body).status_code == 200


@pytest.fixture
def at_leisure(redis_client: redis.Redis):
    """Lets the interval between two polls pass."""

    def wait() -> None:
        redis_client.delete(*redis_client.keys("poll:*"))

    return wait


@pytest.fixture
def box(operator: Operator, tv: Client) -> Client:
    """Another client of the same tenant."""
    box = Client.objects.create(tenant=tv.tenant, client_id="acme-box", name="Acme's box")
    snapshot.reload()
    return box


def test_a_device_is_authorized_and_exchanges_its_code_for_tokens(operator: Operator, at_leisure):
    told = authorize()
    assert set(told) == {
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    }
    assert error_of(exchange(told["device_code"])) == (400, "authorization_pending")
    approve(operator, told, sn="C-1")
    at_leisure()
    response = exchange(told["device_code"])
    assert response.status_code == 200, response.content
    assert response["Cache-Control"] == "no-store"
    answer = response.json()
    assert answer["token_type"] == "Bearer"
    assert answer["credentials"] == {"subscriber_code": "S-1", "sn": "C-1", **SECRETS}
    assert tokens.verify(answer["access_token"]) is not None


def test_who_polls_too_fast_is_told_to_slow_down_without_a_query(
    operator: Operator, django_assert_num_queries
):
    told = authorize()
    exchange(told["device_code"])
    with django_assert_num_queries(0):
        assert error_of(exchange(told["device_code"])) == (400, "slow_down")


@pytest.mark.django_db(transaction=True)
def test_slow_down_never_blocks_collecting_what_was_approved(operator: Operator):
    told = authorize()
    assert [exchange(told["device_code"]).json()["error"] for _ in range(3)] == [
        "authorization_pending",
        "slow_down",
        "slow_down",
    ]
    approve(operator, told)
    first = exchange(told["device_code"])
    assert first.status_code == 200
    assert exchange(told["device_code"]).content == first.content


def test_a_denied_device_hears_access_denied(operator: Operator):
    told = authorize()
    operator.deny(told["user_code"])
    assert error_of(exchange(told["device_code"])) == (400, "access_denied")


def test_an_expired_device_code_is_an_expired_token(operator: Operator, clock: MovableClock):
    told = authorize()
    clock.advance(601)
    assert error_of(exchange(told["device_code"])) == (400, "expired_token")


def test_a_collection_acknowledges_itself_after_two_minutes(
    operator: Operator, clock: MovableClock
):
    from pairing.tasks import sweep

    told = authorize()
    approve(operator, told, sn="C-1")
    answer = exchange(told["device_code"]).json()
    clock.advance(121)
    assert error_of(exchange(told["device_code"])) == (400, "invalid_grant")
    assert sweep() == 1
    assert Pairing.objects.get().state == State.ACKNOWLEDGED
    snapshot.reload()
    assert tokens.verify(answer["access_token"]) is not None
    response = operator.associate(
        user_code=authorize()["user_code"], subscriber_code="S-1", sn="C-1"
    )
    assert response.json()["code"] == "smartcard_in_use"


def test_a_device_code_is_its_clients_own(operator: Operator, foreigner: Operator, tv):
    told = authorize()
    assert error_of(exchange(told["device_code"], "globex-tv")) == (400, "invalid_grant")
    assert error_of(exchange("dc_1_forged")) == (400, "invalid_grant")
    tv.pk, tv.client_id, tv.default_for_host = None, "acme-box", None
    tv.save()
    snapshot.reload()
    approve(operator, told)
    assert error_of(exchange(told["device_code"], "acme-box")) == (400, "access_denied")


def test_a_refresh_token_is_good_once(operator: Operator):
    told = authorize()
    approve(operator, told)
    first = exchange(told["device_code"]).json()
    second = refresh(first["refresh_token"])
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert "credentials" not in second.json()
    assert Pairing.objects.get().state == State.ACKNOWLEDGED
    assert error_of(refresh(first["refresh_token"])) == (400, "invalid_grant")
    # It was copied by somebody: the thief's and the owner's tokens are refused together.
    assert error_of(refresh(second.json()["refresh_token"])) == (400, "invalid_grant")
    assert error_of(refresh("rt_never_issued")) == (400, "invalid_grant")


def test_a_refresh_of_a_delivery_that_ran_out_of_time_is_refused(
    operator: Operator, clock: MovableClock
):
    device = Device.create()
    operator.approve(device)
    answer = device.collect().json()
    clock.advance(125)
    assert error_of(refresh(answer["refresh_token"])) == (400, "invalid_grant")
    assert RefreshToken.objects.count() == 1
    assert (device.row.state, device.row.active_smartcard) == (State.EXPIRED, None)
    snapshot.reload()
    assert tokens.verify(answer["access_token"]) is None


def test_a_refresh_in_time_acknowledges_the_delivery(operator: Operator, clock: MovableClock):
    device = Device.create()
    operator.approve(device)
    answer = device.collect().json()
    clock.advance(115)
    second = refresh(answer["refresh_token"]).json()
    assert device.row.state == State.ACKNOWLEDGED
    clock.advance(10)
    assert tokens.verify(second["access_token"]) is not None
    assert refresh(second["refresh_token"]).status_code == 200


def test_a_refresh_by_another_client_acknowledges_nothing(operator: Operator, box: Client):
    device = Device.create()
    operator.approve(device)
    token = device.collect().json()["refresh_token"]
    assert error_of(refresh(token, box.client_id)) == (400, "invalid_grant")
    assert device.row.state == State.DELIVERED
    assert refresh(token).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": DEVICE_GRANT}, 400, "invalid_request"),
        ({"grant_type": DEVICE_GRANT, "client_id": "acme-tv"}, 400, "invalid_request"),
        ({"grant_type": DEVICE_GRANT, "client_id": "nobody"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "client_id": "acme-tv"}, 400, "invalid_request"),
        ({"grant_type": "password", "client_id": "acme-tv"}, 400, "unsupported_grant_type"),
        ({"grant_type": "", "client_id": "acme-tv"}, 400, "invalid_request"),
    ],
    ids=str,
)
def test_token_requests_are_refused_with_the_rfcs_words(
    operator: Operator, fields: dict[str, str], status: int, error: str
):
    assert error_of(post("/oauth/token", fields)) == (status, error)


@pytest.mark.parametrize("path", ["device_authorization", "token", "revoke"])
def test_what_is_no_form_is_an_invalid_request(operator: Operator, path: str):
    url = f"/oauth/{path}"
    assert error_of(HTTP.post(url, {"a": 1}, content_type="application/json")) == (
        400,
        "invalid_request",
    )
    twice = [("client_id", "acme-tv"), ("client_id", "acme-tv"), ("token", "x")]
    assert error_of(post(url, twice)) == (400, "invalid_request")
    assert error_of(HTTP.post(url, "a=%FF", content_type=FORM)) == (400, "invalid_request")
    assert error_of(HTTP.post(url, "a" * 70_000, content_type=FORM)) == (413, "invalid_request")


def test_a_client_that_tries_to_authenticate_is_told_that_it_cannot(operator: Operator):
    response = post(
        "/oauth/device_authorization", {"client_id": "acme-tv"}, Authorization="Basic YTpi"
    )
    assert error_of(response) == (401, "invalid_client")
    assert response["WWW-Authenticate"].startswith("Basic")


def test_unknown_parameters_are_ignored_and_unusable_ones_refused(operator: Operator):
    told = authorize(resource="x", udid="a-television-of-mine", model="OLED55")
    assert Pairing.objects.get().udid == "a-television-of-mine"
    assert told["interval"] == 5
    response = post("/oauth/device_authorization", {"client_id": "acme-tv", "udid": "<b>"})
    assert error_of(response) == (400, "invalid_request")
    response = post("/oauth/device_authorization", {"client_id": "acme-tv", "scope": "admin"})
    assert error_of(response) == (400, "invalid_scope")
    assert error_of(post("/oauth/device_authorization", {})) == (400, "invalid_request")


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoking_a_token_signs_the_device_out(operator: Operator, kind: str):
    told = authorize()
    approve(operator, told, sn="C-1")
    answer = exchange(told["device_code"]).json()
    for _ in range(2):
        assert (
            post("/oauth/revoke", {"token": answer[kind], "client_id": "acme-tv"}).status_code
            == 200
        )
    snapshot.reload()
    assert tokens.verify(answer["access_token"]) is None
    assert error_of(refresh(answer["refresh_token"])) == (400, "invalid_grant")
    pairing = Pairing.objects.get()
    assert (pairing.state, pairing.active_smartcard) == (State.REVOKED, None)


def test_tokens_of_others_are_not_revoked_and_nobody_is_told(
    operator: Operator, foreigner: Operator
):
    told = authorize()
    approve(operator, told)
    answer = exchange(told["device_code"]).json()
    for token in (answer["refresh_token"], answer["access_token"], "never-issued"):
        response = post("/oauth/revoke", {"token": token, "client_id": "globex-tv"})
        assert response.status_code == 200
    assert refresh(answer["refresh_token"]).status_code == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_another_client_of_the_same_tenant_signs_no_device_out(
    operator: Operator, box: Client, kind: str
):
    told = authorize()
    approve(operator, told)
    answer = exchange(told["device_code"]).json()
    state = Pairing.objects.get().state
    response = post("/oauth/revoke", {"token": answer[kind], "client_id": box.client_id})
    assert response.status_code == 200
    assert Pairing.objects.get().state == state
    snapshot.reload()
    assert tokens.verify(answer["access_token"]) is not None
    assert refresh(answer["refresh_token"]).status_code == 200


# What is our fault


def test_who_cannot_be_signed_out_now_is_not_told_that_he_was(operator: Operator, monkeypatch):
    told = authorize()
    approve(operator, told)
    answer = exchange(told["device_code"]).json()
    fields = {"token": answer["access_token"], "client_id": "acme-tv"}
    with monkeypatch.context() as patch:
        patch.setattr("pairing.attempts.TRIES", 0)
        response = post("/oauth/revoke", fields)
    assert error_of(response) == (503, "temporarily_unavailable")
    assert response["Retry-After"] == "1"
    assert Pairing.objects.get().state == State.DELIVERED
    assert post("/oauth/revoke", fields).status_code == 200
    assert Pairing.objects.get().state == State.REVOKED


def test_a_contended_grant_stays_good(operator: Operator, monkeypatch):
    told = authorize()
    approve(operator, told)
    with monkeypatch.context() as patch:
        patch.setattr("pairing.attempts.TRIES", 0)
        response = exchange(told["device_code"])
    assert error_of(response) == (503, "temporarily_unavailable")
    assert response["Retry-After"] == "1"
    assert exchange(told["device_code"]).status_code == 200


@pytest.mark.parametrize("path", ["device_authorization", "token", "revoke"])
def test_without_the_database_an_oauth_client_hears_its_own_word_and_when_to_return(
    operator: Operator, path: str
):
    told = authorize()

    def dead(*_: Any) -> None:
        raise OperationalError(2006, "server has gone away")

    fields = {
        "client_id": "acme-tv",
        "grant_type": DEVICE_GRANT,
        "device_code": told["device_code"],
        "token": "rt_anything",
    }
    with connection.execute_wrapper(dead):
        response = post(f"/oauth/{path}", fields)
    assert error_of(response) == (503, "temporarily_unavailable")
    assert int(response["Retry-After"]) >= 1


def test_the_metadata_name_every_endpoint_and_nothing_unsupported(operator: Operator):
    told = Caller().get("/.well-known/oauth-authorization-server").json()
    assert told["issuer"] == "http://127.0.0.1:9000"
    for name in ("device_authorization_endpoint", "token_endpoint", "revocation_endpoint"):
        path = told[name].removeprefix(told["issuer"])
        assert HTTP.post(path, "", content_type=FORM).json()["error"] == "invalid_request"
    assert told["grant_types_supported"] == [DEVICE_GRANT, "refresh_token"]
    assert told["token_endpoint_auth_methods_supported"] == ["none"]
    assert told["response_types_supported"] == []
