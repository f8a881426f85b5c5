"""Handing over: at least once, to one device, and then never again."""

from collections.abc import Callable

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, OKPKey

from accounts import keyring, snapshot, tokens
from accounts.models import KeyringKey, TokenFamily
from pairing import first_use
from pairing.models import Pairing, State, Subscriber
from pairing.tasks import sweep
from tests.conftest import MovableClock
from tests.pairing.conftest import SECRETS, Caller, Device, Operator


@pytest.fixture
def approved(operator: Operator) -> Device:
    device = Device.create()
    assert operator.approve(device, sn="C-1").status_code == 200
    return device


def code_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_an_answer_lost_at_delivery_is_given_again_to_the_same_device(approved: Device):
    """Fault 16 and defect 2: it could not be repeated, and the smartcard stayed taken."""
    first = approved.collect()
    assert first.status_code == 200
    assert [approved.collect().content for _ in range(3)] == [first.content] * 3
    assert TokenFamily.objects.count() == 1


def test_another_device_never_receives_the_answer(approved: Device):
    approved.collect()
    other = Device.create(udid=approved.udid)
    assert code_of(other.collect()) == (409, "authorization_pending")
    other = Device.create()
    other.udid = approved.udid
    assert code_of(other.collect()) == (403, "access_denied")
    assert code_of(Device("", udid=approved.udid).collect()) == (401, "invalid_device_code")


def test_after_the_acknowledgement_it_is_never_given_again(
    approved: Device, changes: Callable[[], list[str]]
):
    changes()
    approved.collect()
    assert approved.acknowledge().status_code == 204
    assert approved.row.sealed_answer == ""
    assert code_of(approved.collect()) == (410, "already_collected")
    assert changes() == ["pairing.delivered", "pairing.acknowledged"]


def test_acknowledging_twice_is_harmless(approved: Device, changes: Callable[[], list[str]]):
    approved.collect()
    approved.acknowledge()
    changes()
    assert approved.acknowledge().status_code == 204
    assert changes() == []


def test_there_is_nothing_to_acknowledge_before_delivery(operator: Operator):
    device = Device.create()
    assert code_of(device.acknowledge()) == (409, "not_delivered")
    operator.approve(device)
    assert code_of(device.acknowledge()) == (409, "not_delivered")


def test_not_acknowledged_in_two_minutes_it_expires_and_frees_the_card(
    approved: Device, operator: Operator, clock: MovableClock
):
    answer = approved.collect().json()
    clock.advance(119)
    assert approved.collect().status_code == 200
    clock.advance(2)
    assert code_of(approved.collect()) == (410, "expired")
    assert code_of(approved.acknowledge()) == (409, "not_delivered")
    assert operator.approve(Device.create(), sn="C-1").status_code == 200
    assert approved.row.state == State.EXPIRED
    snapshot.reload()
    assert tokens.verify(answer["access_token"]) is None


def test_a_sweep_frees_what_nobody_asked_for(
    approved: Device, operator: Operator, clock: MovableClock, changes: Callable[[], list[str]]
):
    approved.collect()
    uncollected, pending = Device.create(), Device.create()
    operator.approve(uncollected)
    changes()
    assert sweep() == 0
    clock.advance(601)
    assert sweep() == 2
    assert changes() == ["pairing.expired", "token.revoked", "pairing.expired"]
    assert Pairing.objects.exclude(active_smartcard=None).count() == 0
    assert pending.row.state == State.PENDING
    assert sweep() == 0


def test_a_subscriber_locked_since_the_approval_gets_nothing(
    approved: Device, subscriber: Subscriber
):
    """Fault 27."""
    Subscriber.objects.update(state=Subscriber.State.LOCKED)
    assert code_of(approved.collect()) == (403, "access_denied")
    assert approved.row.state == State.APPROVED
    Subscriber.objects.update(state=Subscriber.State.ACTIVE)
    assert approved.collect().status_code == 200
    Subscriber.objects.update(state=Subscriber.State.LOCKED)
    assert code_of(approved.collect()) == (403, "access_denied")


def test_credentials_and_answers_lie_sealed(approved: Device, subscriber: Subscriber):
    token = approved.collect().json()["access_token"]
    subscriber.refresh_from_db()
    for kept in (subscriber.sealed_credentials, approved.row.sealed_answer):
        assert kept
        assert SECRETS["password"] not in kept
        assert token not in kept


def test_an_answer_sealed_for_one_pairing_opens_in_no_other(approved: Device, operator: Operator):
    approved.collect()
    other = Device.create()
    operator.approve(other)
    other.collect()
    Pairing.objects.filter(pk=other.row.pk).update(sealed_answer=approved.row.sealed_answer)
    assert code_of(other.collect()) == (503, "credentials_sealed")


def test_a_key_that_may_not_open_any_more_is_no_fault_of_the_device(
    approved: Device, operator: Operator
):
    compromised = KeyringKey.objects.get(purpose="credentials")
    keyring.add(KeyringKey.Purpose.CREDENTIALS)
    compromised.state = KeyringKey.State.COMPROMISED
    compromised.save()
    snapshot.reload()
    refused = approved.collect()
    assert code_of(refused) == (503, "credentials_sealed")
    assert refused["Retry-After"] == "60"
    assert approved.row.state == State.APPROVED
    operator.send("PUT", "/api/v1/subscribers/S-1/", {"credentials": SECRETS})
    assert approved.collect().json()["credentials"]["password"] == SECRETS["password"]


def test_two_active_keys_do_not_break_delivery(approved: Device, operator: Operator):
    """Defect 11: keys could not be rotated. What the old key sealed still opens."""
    first = approved.collect()
    old = KeyringKey.objects.get(purpose="credentials")
    keyring.add(KeyringKey.Purpose.CREDENTIALS)
    keyring.add(KeyringKey.Purpose.TOKEN)
    snapshot.reload()
    assert approved.collect().content == first.content
    second = Device.create()
    operator.approve(second)
    assert second.collect().json()["credentials"]["password"] == SECRETS["password"]
    assert old.kid not in second.row.sealed_answer


# Keys of devices

KEYS = {
    "X25519": lambda: OKPKey.generate_key("X25519"),
    "P-256": lambda: ECKey.generate_key("P-256"),
}


@pytest.mark.parametrize("curve", KEYS)
def test_a_device_with_a_key_receives_what_only_it_can_read(operator: Operator, curve: str):
    private = KEYS[curve]()
    device = Device.create(public_key=dict(private.as_dict(private=False), use="enc"))
    operator.approve(device, sn="C-2")
    sealed = device.collect().json()["credentials"]
    assert sealed.count(".") == 4
    opened = jwe.decrypt_compact(sealed, private)
    assert opened.protected["alg"] == "ECDH-ES"
    assert b'"password":"s3cret"' in opened.plaintext
    assert device.collect().json()["credentials"] == sealed


GOOD = dict(OKPKey.generate_key("X25519").as_dict(private=False))
POINT = dict(ECKey.generate_key("P-256").as_dict(private=False))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "k": "AAAA"},
        {**GOOD, "crv": "X448"},
        {**GOOD, "crv": ["X25519"]},
        {**GOOD, "x": "AAAA"},
        {**GOOD, "x": "A" * 43},
        {**GOOD, "x": 7},
        {**GOOD, "x": "ä" * 43},
        {**GOOD, "note": "<script>"},
        dict(OKPKey.generate_key("X25519").as_dict(private=True)),
        {**POINT, "y": POINT["x"]},
        {**POINT, "crv": "P-521"},
        {"kty": "EC", "crv": "P-256", "x": POINT["x"]},
    ],
    ids=range(14),
)
def test_a_key_that_nothing_can_be_sealed_to_is_refused_at_creation(
    operator: Operator, jwk: dict[str, object]
):
    response = Caller().post("/api/v1/pairings/", {"app_type": "android_tv", "public_key": jwk})
    assert code_of(response) == (400, "invalid")
    assert response.json()["errors"][0]["pointer"].startswith("/public_key")
    assert Pairing.objects.count() == 0


# Using a token acknowledges


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "_seen", set())


def test_the_first_use_of_its_token_acknowledges(
    approved: Device, new_process: None, django_assert_num_queries
):
    token = approved.collect().json()["access_token"]
    snapshot.reload()
    assert Caller(token).get("/api/v1/me/").status_code == 200
    assert approved.row.state == State.ACKNOWLEDGED
    with django_assert_num_queries(0):
        Caller(token).get("/api/v1/me/")


def test_a_token_first_used_too_late_is_refused(
    approved: Device, clock: MovableClock, new_process: None
):
    token = approved.collect().json()["access_token"]
    clock.advance(121)
    assert code_of(Caller(token).get("/api/v1/me/")) == (401, "not_authenticated")
    assert approved.row.state == State.EXPIRED


def test_an_old_token_costs_no_query(
    approved: Device, clock: MovableClock, new_process: None, django_assert_num_queries
):
    token = approved.collect().json()["access_token"]
    approved.acknowledge()
    snapshot.reload()
    clock.advance(300)
    with django_assert_num_queries(0):
        assert Caller(token).get("/api/v1/me/").status_code == 200


def test_a_token_says_whose_and_on_which_device(approved: Device):
    answer = approved.collect().json()
    claims = tokens.verify(answer["access_token"])
    assert claims is not None
    assert (claims.subject, claims.device) == ("S-1", approved.udid)
    assert claims.family == approved.row.token_family
    assert 0 < answer["expires_in"] <= 3600
