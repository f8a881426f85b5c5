"""Policies: every route has one, and admins' numbers hold within two seconds."""

import re
import time

import pytest
from django.urls import get_resolver
from hypothesis import given
from hypothesis import strategies as st

from ratelimit import revision
from ratelimit.models import LimitRow, PolicyRow
from stabilizer.gate import policy, policy_rows
from stabilizer.gate.policy import DEFAULTS, route


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/api/v1/pairings/", "pairing.create"),
        ("POST", "/api/v1/pairings/associate/", "pairing.associate"),
        ("POST", "/api/v1/pairings/deny/", "pairing.associate"),
        ("GET", "/api/v1/pairings/UDID-1/", "pairing.status"),
        ("HEAD", "/api/v1/pairings/UDID-1/", "pairing.status"),
        ("POST", "/api/v1/pairings/UDID-1/renew/", "pairing.renew"),
        ("POST", "/api/v1/pairings/UDID-1/credentials/", "pairing.credentials"),
        ("post", "/api/v1/pairings/UDID-1/credentials/", "pairing.credentials"),
        ("POST", "/api/v1/pairings/UDID-1/ack/", "pairing.ack"),
        ("GET", "/api/v1/devices/", "devices.list"),
        ("PATCH", "/api/v1/devices/UDID-1/", "devices.write"),
        ("POST", "/api/v1/devices/UDID-1/revoke/", "devices.revoke"),
        ("POST", "/api/v1/subscribers/S-1/devices/revoke/", "devices.revoke"),
        ("GET", "/api/v1/subscribers/", "subscribers.list"),
        ("GET", "/api/v1/subscribers/S-1/", "subscribers.read"),
        ("PUT", "/api/v1/subscribers/S-1/", "subscribers.write"),
        ("GET", "/api/v1/me/", "me"),
        ("POST", "/oauth/device_authorization", "oauth.device"),
        ("POST", "/oauth/token", "oauth.token"),
        ("POST", "/oauth/revoke", "oauth.revoke"),
        ("GET", "/.well-known/oauth-authorization-server", "oauth.metadata"),
        ("POST", "/accounts/login/", "login"),
        ("GET", "/accounts/login/", "login.page"),
        ("POST", "/admin/login/", "login.admin"),
        ("GET", "/admin/pairing/pairing/", "admin"),
        ("GET", "/activate/", "default"),
        ("POST", "/activate/", "activate"),
        ("GET", "/activate/a-signed-ticket/", "default"),
        ("POST", "/activate/a-signed-ticket/", "activate"),
        ("GET", "/static/admin/css/base.css", "static"),
        ("GET", "/api/docs/", "docs"),
        ("GET", "/", "default"),
    ],
)
def test_each_route_has_its_policy(method, path, name):
    assert route(method, path) == name


def test_collecting_is_critical_creating_normal_and_lists_sheddable():
    def criticality(name):
        return DEFAULTS[name].criticality

    assert {criticality(name) for name in ("pairing.credentials", "pairing.ack")} == {"critical"}
    assert criticality("oauth.token") == "critical"
    assert {criticality(name) for name in ("pairing.create", "oauth.refresh")} == {"normal"}
    assert {criticality(name) for name in ("devices.list", "subscribers.list")} == {"sheddable"}
    assert {DEFAULTS[name].budget for name in ("admin", "login.admin")} == {"admin"}


def paths(patterns, prefix="/"):
    for each in patterns:
        path = prefix + re.sub(r"<[^>]+>", "X", str(each.pattern))
        yield from paths(each.url_patterns, path) if hasattr(each, "url_patterns") else [path]


def test_every_endpoint_of_the_api_has_a_policy_of_its_own():
    served = [path for path in paths(get_resolver().url_patterns) if not path.startswith("/^")]
    api = [path for path in served if path.startswith(("/api/", "/oauth/", "/.well-known/"))]
    assert len(api) > 10
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    unknown = [path for path in api if {route(each, path) for each in methods} == {"default"}]
    assert unknown == []


@given(st.text(), st.text())
def test_whatever_is_asked_for_there_is_a_policy(method, path):
    assert route(method, "/api/v1/" + path) in DEFAULTS
    assert route(method, path) in DEFAULTS


def numbers(name: str) -> dict[str, tuple[int, int]]:
    limits = policy.table.policies[name].limits
    return {limit.name: (limit.quantity, limit.window_s) for limit in limits}


@pytest.mark.django_db
def test_the_rows_say_what_the_code_says_and_are_made_once():
    policy_rows.ensure()
    policy_rows.ensure()
    assert PolicyRow.objects.count() == len(DEFAULTS)
    policy.table.reload()
    assert dict(policy.table.policies) == dict(DEFAULTS)


@pytest.mark.django_db
def test_an_edited_row_wins_and_its_other_numbers_stay():
    LimitRow.objects.filter(policy__name="pairing.create", name="udid").update(quantity=7)
    PolicyRow.objects.filter(name="me").update(criticality="sheddable", weight=0, wait_ms=99)
    policy_rows.ensure()
    policy.table.reload()
    assert numbers("pairing.create") == {
        "udid": (7, 300),
        "fingerprint": (5, 300),
        "network": (120, 60),
        "proof": (5, 300),
    }
    edited = policy.table.policies["me"]
    assert (edited.criticality, edited.weight, edited.wait_ms) == ("sheddable", 1, 99)


@pytest.mark.django_db
def test_policies_that_share_a_counter_share_its_number():
    LimitRow.objects.filter(policy__name="login", name="person").update(quantity=3)
    policy.table.reload()
    assert numbers("login")["person"] == numbers("login.admin")["person"] == (3, 900)


@pytest.mark.django_db
def test_an_edited_login_limit_is_still_given_back_to_who_succeeds():
    PolicyRow.objects.filter(name__startswith="login").update(store_away="closed")
    LimitRow.objects.filter(policy__name="login").update(quantity=3, window_s=60)
    policy.table.reload()
    for name in ("login", "login.admin"):
        limits = policy.table.policies[name].limits
        assert [(limit.quantity, limit.store_away) for limit in limits] == [(3, "closed")] * 2
        assert all(limit.refundable for limit in limits)


def test_only_what_may_fail_is_given_back():
    given_back = {name for name, each in DEFAULTS.items() if each.failures}
    assert given_back == {"login", "login.admin", "oauth.refresh"}
    for name, each in DEFAULTS.items():
        assert {limit.refundable for limit in each.limits} <= {name in given_back}


@pytest.mark.django_db
def test_a_number_that_no_clock_can_count_does_not_stop_the_others():
    LimitRow.objects.filter(name="udid").update(quantity=2_000_000_000, window_s=1)
    policy.table.reload()
    assert numbers("pairing.create")["udid"] == (1_000_000, 1)


@pytest.mark.django_db
def test_without_rows_the_code_decides():
    PolicyRow.objects.all().delete()
    policy.table.reload()
    assert numbers("pairing.create")["udid"] == (5, 300)


@pytest.mark.django_db
def test_the_queue_wait_of_the_settings_bounds_that_of_a_policy(settings):
    settings.GATE_QUEUE_WAIT_MS = 300
    policy.table.reload()
    assert {each.wait_ms for each in policy.table.policies.values()} == {300}


@pytest.mark.django_db(transaction=True)
def test_an_edit_takes_effect_on_running_processes_within_two_seconds(redis_client):
    policy_rows.ensure()
    revision.start()
    try:
        _until(lambda: policy.table.policies is not DEFAULTS)
        row = LimitRow.objects.get(policy__name="pairing.credentials", name="device_code")
        row.quantity = 2
        row.save()
        revision.bump()
        began = time.monotonic()
        _until(lambda: numbers("pairing.credentials") == {"device_code": (2, 60)})
        assert time.monotonic() - began < 2
    finally:
        revision.stop()


def _until(condition) -> None:
    patience = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.01)
