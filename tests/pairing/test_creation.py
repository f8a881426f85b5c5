"""A device asks for a pairing, renews its code, and repeats itself when an answer was lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.db import connection

from accounts.models import Client, Tenant
from pairing.models import Pairing
from tests.conftest import MovableClock
from tests.pairing.conftest import Caller, Device, Operator, browser

CREATE = "/api/v1/pairings/"
BODY = {"app_type": "android_tv", "model": "OLED55"}
KEY = "nT0pZ3dXb1Q9sYw7Kc5m2A"


def test_a_device_is_told_all_that_it_shows_and_keeps(tv: Client):
    told = Device.create().created
    assert set(told) == {
        "udid",
        "user_code",
        "device_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
        "websocket_url",
    }
    assert told["expires_in"] == 600
    assert told["interval"] == 5
    assert told["verification_uri"] == "http://127.0.0.1:9000/activate/"
    assert told["verification_uri_complete"].endswith(f"?user_code={told['user_code']}")
    assert told["websocket_url"] == "ws://127.0.0.1:9000/ws/pairings/"
    assert 16 <= len(told["udid"]) <= 64


def test_neither_the_device_code_nor_its_digest_says_the_other(tv: Client):
    device = Device.create()
    row = Pairing.objects.values().get()
    assert device.bearer not in str(row)


def test_the_host_has_a_default_client_and_a_named_client_has_its_tenant(
    tv: Client, other_tenant: Tenant
):
    assert Device.create().row.tenant_id == tv.tenant_id
    assert Device.create(client_id="globex-tv").row.tenant_id == other_tenant.pk


def test_an_unknown_client_is_refused(tv: Client):
    response = Caller().post(CREATE, {**BODY, "client_id": "nobody"})
    assert (response.status_code, response.json()["code"]) == (400, "unknown_client")
    assert Pairing.objects.count() == 0


def test_the_address_is_remembered_for_the_person_who_approves(tv: Client):
    assert Device.create(address="203.0.113.77").row.address == "203.0.113.77"


def test_a_stranger_under_a_victims_udid_gets_a_pairing_of_its_own_and_no_credentials(
    operator: Operator,
):
    victim = Device.create(udid="victims-television")
    stranger = Device.create(udid="victims-television")
    assert operator.approve(victim).status_code == 200
    assert stranger.status().json()["status"] == "pending"
    assert stranger.collect().status_code == 409
    assert victim.collect().json()["credentials"]["subscriber_code"] == "S-1"
    assert stranger.collect().status_code == 409


def test_who_pairs_first_under_a_udid_does_not_bar_its_owner(operator: Operator, tenant: Tenant):
    stranger = Device.create(udid="victims-television")
    victim = Device.create(udid="victims-television")
    assert operator.approve(victim).status_code == 200
    assert stranger.collect().json()["code"] == "authorization_pending"


@pytest.mark.django_db(transaction=True)
def test_two_codes_that_fall_alike_are_tried_again(tv: Client, monkeypatch: pytest.MonkeyPatch):
    codes = iter(["WDJBMJHT", "WDJBMJHT", "BBBBBBBB"])
    monkeypatch.setattr("pairing.user_code.mint", lambda: next(codes))
    assert [Device.create().user_code for _ in range(2)] == ["WDJB-MJHT", "BBBB-BBBB"]


# Renewing


def test_a_renewed_code_replaces_the_old_one_and_the_device_keeps_its_place(operator: Operator):
    device = Device.create()
    old = device.user_code
    renewed = device.renew()
    assert renewed.status_code == 200
    assert renewed.json()["expires_in"] == 600
    device.user_code = renewed.json()["user_code"]
    assert device.user_code != old
    assert operator.associate(user_code=old, subscriber_code="S-1").status_code == 404
    assert operator.approve(device).status_code == 200
    assert device.collect().status_code == 200


def test_a_code_may_be_renewed_for_an_hour(tv: Client, clock: MovableClock):
    device = Device.create()
    for _ in range(6):
        clock.advance(590)
        response = device.renew()
        assert response.status_code == 200
    assert response.json()["expires_in"] == pytest.approx(60, abs=2)


def test_after_an_hour_there_is_no_renewing(tv: Client, clock: MovableClock):
    device = Device.create()
    for _ in range(6):
        clock.advance(599)
        device.renew()
    clock.advance(7)
    response = device.renew()
    assert (response.status_code, response.json()["code"]) == (410, "expired")


def test_a_device_that_renews_an_interval_late_still_may(tv: Client, clock: MovableClock):
    device = Device.create()
    clock.advance(604)
    assert device.renew().status_code == 200
    clock.advance(606)
    assert device.renew().status_code == 410


def test_an_approved_device_has_no_code_to_renew(operator: Operator):
    device = Device.create()
    operator.approve(device)
    assert device.renew().json()["code"] == "already_approved"


def test_another_device_cannot_renew_the_code(tv: Client):
    device, other = Device.create(), Device.create()
    other.udid = device.udid
    assert other.renew().status_code == 401
    assert Caller().post(f"{device.path}renew/").status_code == 401


# Idempotency-Key


def test_the_same_key_and_body_get_the_same_answer(tv: Client):
    first = Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY})
    again = Caller().post(CREATE, dict(reversed(BODY.items())), **{"Idempotency-Key": KEY})
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert Pairing.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(tv: Client):
    Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY})
    other = Caller().post(CREATE, {**BODY, "model": "X"}, **{"Idempotency-Key": KEY})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert Pairing.objects.count() == 1


def test_another_key_is_another_pairing(tv: Client, other_tenant: Tenant):
    answers = [
        Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY}).json(),
        Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY[::-1]}).json(),
        Caller()
        .post(CREATE, {**BODY, "client_id": "globex-tv"}, **{"Idempotency-Key": KEY})
        .json(),
    ]
    assert len({answer["device_code"] for answer in answers}) == 3


@pytest.mark.parametrize(
    ("address", "fingerprint"),
    [("198.51.101.7", "tv-1"), ("198.51.100.7", "tv-2"), ("198.51.100.7", "")],
    ids=["another network", "another fingerprint", "no fingerprint"],
)
def test_who_learns_anothers_key_gets_a_pairing_of_its_own(
    tv: Client, address: str, fingerprint: str
):
    def ask(address: str, fingerprint: str) -> tuple[int, str]:
        headers = {"Idempotency-Key": KEY, "X-Device-Fingerprint": fingerprint}
        response = Caller(address=address).post(CREATE, BODY, **headers)
        return response.status_code, response.json()["device_code"]

    victim = ask("198.51.100.7", "tv-1")
    stranger = ask(address, fingerprint)
    assert victim[0] == stranger[0] == 201
    assert victim[1] != stranger[1]
    # Another address of the same network is the same device, which its carrier moved.
    assert ask("198.51.100.99", "tv-1") == victim


def test_who_reads_the_store_reads_no_device_code(tv: Client, redis_client: redis.Redis):
    told = Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY}).json()
    names = redis_client.keys("idem:*")
    assert len(names) == 1
    kept = redis_client.get(names[0])
    for text in (told["device_code"], told["user_code"], KEY):
        assert text.encode() not in kept + names[0]
    assert 590 < redis_client.ttl(names[0]) <= 600


def test_a_refused_request_leaves_the_key_free(tv: Client):
    Caller().post(CREATE, {**BODY, "udid": "short"}, **{"Idempotency-Key": KEY})
    assert Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY}).status_code == 201


@pytest.mark.parametrize("key", ["1", "x" * 21, "x" * 256, "ä" * 22, "a\tb" * 22])
def test_an_unusable_key_is_refused(tv: Client, key: str):
    response = Caller(http=browser(HTTP_IDEMPOTENCY_KEY=key)).post(CREATE, BODY)
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


@pytest.mark.django_db(transaction=True)
def test_parallel_requests_with_one_key_make_one_pairing(tv: Client):
    def ask(_: int) -> tuple[int, str]:
        try:
            response = Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY})
            return response.status_code, response.json().get("device_code", "")
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(50)))
    assert {status for status, _ in answers} <= {201, 409}
    assert len({code for _, code in answers if code}) == 1
    assert Pairing.objects.count() == 1


def test_without_the_store_a_key_does_not_bar_anybody(tv: Client, store_away: None):
    assert Caller().post(CREATE, BODY, **{"Idempotency-Key": KEY}).status_code == 201
