"""Who calls: keys, tokens and people, each of one tenant, keys and tokens without a query."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser

from accounts import keys, principal, snapshot, tokens
from accounts.models import User

pytestmark = pytest.mark.urls("tests.accounts.things")
GUARDED = "/api/guarded/"


def bearer(text):
    return {"authorization": f"Bearer {text}"}


@pytest.fixture
def token(tenant):
    family = tokens.start_family(tenant, "S-1", "tv-0001")
    return tokens.issue(family).access_token


@pytest.fixture
def person(tenant):
    return User.objects.create_user("ana", password="x", tenant=tenant)


@pytest.fixture
def operator(person):
    person.user_permissions.add(Permission.objects.get(codename="approve"))
    return person


def test_a_key_is_authenticated_without_a_query(client, key, django_assert_num_queries):
    snapshot.reload()
    with django_assert_num_queries(0):
        response = client.get(GUARDED, headers=bearer(key[1]))
    assert response.json() == {"caller": f"key:{key[0].prefix}"}


def test_a_token_is_authenticated_without_a_query(client, token, django_assert_num_queries):
    snapshot.reload()
    with django_assert_num_queries(0):
        caller = principal.identify(f"bearer {token}")
    assert caller is not None
    assert (caller.kind, caller.tenant, caller.subscriber_code) == ("token", "acme", "S-1")
    assert caller.device == "tv-0001"


def test_from_its_second_use_a_token_costs_no_query(client, token, django_assert_num_queries):
    assert client.get("/api/v1/me/", headers=bearer(token)).json()["subscriber_code"] == "S-1"
    with django_assert_num_queries(0):
        assert client.get("/api/v1/me/", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "text", ["stb_aaaaaaaaaa_x", "stb_", "a.b.c", "stb_\u00e9_x", "eyJ.eyJ.x", "stb_" + "a" * 5000]
)
def test_a_wrong_key_or_token_is_401_without_a_query(client, key, text, django_assert_num_queries):
    snapshot.reload()
    with django_assert_num_queries(0):
        response = client.get(GUARDED, headers=bearer(text))
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic cm9vdDpyb290", "x" * 3000])
def test_no_credentials_are_401(client, db, header):
    response = client.get(GUARDED, headers={"authorization": header} if header else {})
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_a_key_without_the_scope_is_403(client, key):
    response = client.post(GUARDED, {}, "application/json", headers=bearer(key[1]))
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


def test_a_revoked_key_is_refused_when_the_snapshot_has_followed(client, key):
    assert client.get(GUARDED, headers=bearer(key[1])).status_code == 200
    keys.revoke(key[0])
    snapshot.reload()
    assert client.get(GUARDED, headers=bearer(key[1])).status_code == 401


def test_an_expired_key_is_refused_before_the_snapshot_follows(client, tenant, clock):
    _, text = keys.create(tenant, "k", ["devices:read"], clock.now() + timedelta(seconds=5))
    assert client.get(GUARDED, headers=bearer(text)).status_code == 200
    clock.advance(5)
    assert client.get(GUARDED, headers=bearer(text)).status_code == 401


def test_keys_of_two_tenants_are_of_their_tenant(key, other_tenant):
    _, other = keys.create(other_tenant, "k", [])
    callers = [principal.identify(f"Bearer {text}") for text in (key[1], other)]
    assert [caller and caller.tenant for caller in callers] == ["acme", "globex"]


def test_an_operator_has_every_scope_of_his_tenant(client, operator):
    client.force_login(operator)
    assert client.get(GUARDED).json() == {"caller": f"person:{operator.pk}"}
    me = client.get("/api/v1/me/").json()
    assert (me["tenant"], me["kind"], len(me["scopes"])) == ("acme", "person", 5)


def test_a_person_who_is_no_operator_has_no_scope(client, person):
    client.force_login(person)
    assert client.get(GUARDED).status_code == 403
    assert client.get("/api/v1/me/").json()["scopes"] == []


def test_a_person_of_no_tenant_is_nobody_to_the_api(client, admin):
    assert admin.get("/api/v1/me/").status_code == 401


def test_a_session_needs_its_csrf_token_to_change_anything(operator):
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(operator)
    assert browser.get(GUARDED).status_code == 200
    assert browser.post(GUARDED, {}, "application/json").status_code == 403


def test_a_key_needs_no_csrf_token(tenant):
    _, text = keys.create(tenant, "k", ["devices:write"])
    browser = Browser(enforce_csrf_checks=True)
    response = browser.post(GUARDED, {}, "application/json", headers=bearer(text))
    assert response.status_code == 200


def test_a_wrong_key_is_not_saved_by_a_session(client, operator):
    client.force_login(operator)
    assert client.get(GUARDED, headers=bearer("stb_aaaaaaaaaa_x")).status_code == 401


def test_me_tells_the_plan_and_its_quotas(client, key):
    me = client.get("/api/v1/me/", headers=bearer(key[1])).json()
    assert me == {
        "kind": "key",
        "tenant": "acme",
        "plan": "operator",
        "scopes": ["devices:read"],
        "subscriber_code": None,
        "expires_at": None,
        "quotas": [
            {
                "name": "tenant",
                "quantity": 60_000,
                "window_s": 60,
                "remaining": None,
                "reset_s": None,
            }
        ],
    }
