"""Who may approve, for whom, on which card, and what stands in the way."""

import random
from collections.abc import Callable

import pytest

from accounts import tokens
from accounts.models import Scope, Tenant, User
from pairing.models import Pairing, Smartcard, State, Subscriber
from tests.conftest import MovableClock
from tests.pairing.conftest import Device, Operator, browser, key_of, subscribe


def code_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_without_a_serial_number_a_free_card_is_taken(operator: Operator):
    taken = [operator.approve(Device.create()).json()["sn"] for _ in range(2)]
    assert sorted(taken) == ["C-1", "C-2"]
    assert code_of(operator.approve(Device.create())) == (409, "no_free_smartcard")


def test_a_card_has_one_active_device(operator: Operator):
    operator.approve(Device.create(), sn="C-1")
    assert code_of(operator.approve(Device.create(), sn="C-1")) == (409, "smartcard_in_use")


def test_a_code_is_approved_once(operator: Operator):
    device = Device.create()
    operator.approve(device)
    assert code_of(operator.approve(device)) == (409, "already_approved")
    assert code_of(operator.deny(device.user_code)) == (409, "already_approved")


def test_a_denied_code_stays_denied(operator: Operator, changes: Callable[[], list[str]]):
    device = Device.create()
    assert operator.deny(device.user_code).json() == {"udid": device.udid, "status": "denied"}
    assert changes() == ["pairing.denied"]
    assert device.status().json()["status"] == "denied"
    assert code_of(operator.approve(device)) == (409, "already_denied")
    assert code_of(device.collect()) == (403, "access_denied")


def test_an_expired_code_is_told_from_an_unknown_one(operator: Operator, clock: MovableClock):
    device = Device.create()
    clock.advance(601)
    assert code_of(operator.approve(device)) == (410, "expired_code")
    assert code_of(operator.associate(user_code="BBBB-BBBB", subscriber_code="S-1")) == (
        404,
        "unknown_code",
    )


def test_subscribers_and_cards_that_are_not_there_are_named(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-2", "C-3")
    device = Device.create()
    assert code_of(operator.approve(device, "S-7")) == (404, "unknown_subscriber")
    assert code_of(operator.approve(device, sn="C-7")) == (404, "unknown_smartcard")
    assert code_of(operator.approve(device, sn="C-3")) == (404, "unknown_smartcard")
    assert device.status().json()["status"] == "pending"


def test_a_locked_subscriber_gets_no_device(operator: Operator, subscriber: Subscriber):
    subscriber.state = Subscriber.State.LOCKED
    subscriber.save()
    assert code_of(operator.approve(Device.create())) == (409, "subscriber_locked")
    assert code_of(operator.approve(Device.create(), sn="C-1")) == (409, "subscriber_locked")


def test_an_approval_says_who_gave_it(operator: Operator, changes: Callable[[], list[str]]):
    device = Device.create()
    operator.approve(device)
    row = device.row
    assert row.approved_by.startswith("key:")
    assert (row.state, row.version) == (State.APPROVED, 2)
    assert changes() == ["pairing.approved"]


# Cards and UDIDs whose holder ran out of time


def test_a_card_whose_device_never_collected_is_free_again(operator: Operator, clock: MovableClock):
    late = Device.create()
    operator.approve(late, sn="C-1")
    clock.advance(601)
    assert operator.approve(Device.create(), sn="C-1").status_code == 200
    assert late.row.state == State.EXPIRED
    assert late.status().status_code == 410


def test_overdue_holders_count_as_free_cards(operator: Operator, clock: MovableClock):
    for _ in range(2):
        operator.approve(Device.create())
    clock.advance(601)
    assert [operator.approve(Device.create()).status_code for _ in range(3)] == [200, 200, 409]


def test_an_acknowledged_device_keeps_its_card(operator: Operator, clock: MovableClock):
    device = Device.create()
    operator.approve(device, sn="C-1")
    device.collect()
    device.acknowledge()
    clock.advance(86_400)
    assert code_of(operator.approve(Device.create(), sn="C-1")) == (409, "smartcard_in_use")


# The same UDID again


def test_the_same_subscriber_replaces_his_own_device_on_its_card(
    operator: Operator, changes: Callable[[], list[str]]
):
    old, new = (
        Device.create(udid="a-television-of-mine"),
        Device.create(udid="a-television-of-mine"),
    )
    operator.approve(old, sn="C-2")
    old.collect()
    changes()
    assert operator.approve(new).json()["sn"] == "C-2"
    assert (old.row.state, old.row.ended_reason) == (State.REVOKED, "replaced")
    assert changes() == ["pairing.revoked", "token.revoked", "pairing.approved"]
    assert old.collect().status_code == 403
    assert new.collect().status_code == 200


def test_a_udid_of_another_subscriber_is_in_use(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-2", "C-3")
    operator.approve(Device.create(udid="a-television-of-mine"))
    stranger = Device.create(udid="a-television-of-mine")
    assert code_of(operator.approve(stranger, "S-2")) == (409, "udid_in_use")
    assert Pairing.objects.filter(state=State.APPROVED).count() == 1


def test_a_udid_is_free_when_its_holder_ran_out_of_time(
    operator: Operator, tenant: Tenant, clock: MovableClock
):
    subscribe(tenant, "S-2", "C-3")
    operator.approve(Device.create(udid="a-television-of-mine"))
    clock.advance(601)
    assert operator.approve(Device.create(udid="a-television-of-mine"), "S-2").status_code == 200


def test_a_revoked_udid_can_pair_again(operator: Operator):
    operator.approve(Device.create(udid="a-television-of-mine"))
    assert operator.revoke("a-television-of-mine").status_code == 200
    assert operator.approve(Device.create(udid="a-television-of-mine")).status_code == 200


# By UDID


def test_an_operator_may_approve_the_only_device_that_waits_under_a_udid(operator: Operator):
    device = Device.create()
    assert operator.associate(udid=device.udid, subscriber_code="S-1").status_code == 200
    assert code_of(operator.associate(udid=device.udid, subscriber_code="S-1")) == (
        409,
        "already_approved",
    )


def test_several_devices_under_one_udid_are_ambiguous(operator: Operator):
    for _ in range(2):
        Device.create(udid="a-television-of-mine")
    response = operator.associate(udid="a-television-of-mine", subscriber_code="S-1")
    assert code_of(response) == (409, "ambiguous_udid")


@pytest.mark.parametrize("collected", [False, True], ids=["approved", "signed in"])
def test_a_stranger_under_the_udid_of_an_active_device_is_not_approved_by_udid(
    operator: Operator, collected: bool
):
    victim = Device.create(udid="victims-television")
    operator.approve(victim, sn="C-1")
    if collected:
        victim.collect()
        victim.acknowledge()
    stranger = Device.create(udid="victims-television")
    response = operator.associate(udid="victims-television", subscriber_code="S-1")
    assert code_of(response) == (409, "ambiguous_udid")
    assert "user_code" in response.json()["detail"]
    assert code_of(stranger.collect()) == (409, "authorization_pending")
    assert victim.row.state == (State.ACKNOWLEDGED if collected else State.APPROVED)


def test_a_udid_whose_holder_ran_out_of_time_may_be_approved_by_udid_again(
    operator: Operator, clock: MovableClock
):
    operator.approve(Device.create(udid="a-television-of-mine"))
    clock.advance(601)
    again = Device.create(udid="a-television-of-mine")
    response = operator.associate(udid="a-television-of-mine", subscriber_code="S-1")
    assert response.status_code == 200
    assert again.collect().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_device_that_becomes_active_meanwhile_is_not_replaced_by_udid(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
):
    stranger = Device.create(udid="victims-television")
    choose = random.choice

    def slowly(cards: list[Smartcard]) -> Smartcard:
        monkeypatch.setattr("random.choice", choose)
        operator.approve(Device.create(udid="victims-television"))
        return choose(cards)

    monkeypatch.setattr("random.choice", slowly)
    response = operator.associate(udid="victims-television", subscriber_code="S-1")
    assert code_of(response) == (409, "ambiguous_udid")
    assert stranger.row.state == State.PENDING


def test_a_udid_that_never_asked_is_unknown(operator: Operator, clock: MovableClock):
    response = operator.associate(udid="a-television-of-mine", subscriber_code="S-1")
    assert code_of(response) == (404, "unknown_code")
    Device.create(udid="a-television-of-mine")
    clock.advance(601)
    response = operator.associate(udid="a-television-of-mine", subscriber_code="S-1")
    assert code_of(response) == (410, "expired_code")


# Who may


def test_a_key_needs_the_scope(tenant: Tenant, operator: Operator):
    others = [scope for scope in Scope.values if scope != Scope.PAIRING_APPROVE]
    powerless = Operator(key_of(tenant, *others))
    device = Device.create()
    assert code_of(powerless.approve(device)) == (403, "permission_denied")
    assert code_of(powerless.deny(device.user_code)) == (403, "permission_denied")
    assert code_of(Operator().approve(device)) == (401, "not_authenticated")


def test_a_subscriber_approves_for_himself_and_nobody_else(
    operator: Operator, tenant: Tenant, person: User
):
    subscribe(tenant, "S-2", "C-3")
    anna = Operator(http=browser(person))
    device = Device.create()
    assert code_of(anna.approve(device, "S-2")) == (403, "permission_denied")
    assert code_of(anna.associate(udid=device.udid)) == (403, "permission_denied")
    assert anna.associate(user_code=device.user_code).json()["subscriber_code"] == "S-1"


def test_a_subscribers_token_approves_for_himself(operator: Operator, tenant: Tenant):
    family = tokens.start_family(tenant, "S-1", "a-telephone-of-mine")
    telephone = Operator(tokens.issue(family).access_token)
    assert telephone.associate(user_code=Device.create().user_code).status_code == 200


def test_a_person_without_a_subscriber_approves_nothing(operator: Operator, tenant: Tenant):
    guest = Operator(http=browser(User.objects.create_user("guest", tenant=tenant)))
    assert guest.associate(user_code=Device.create().user_code).status_code == 400
    assert code_of(guest.approve(Device.create())) == (403, "permission_denied")
    assert code_of(guest.deny(Device.create().user_code)) == (403, "permission_denied")


def test_a_foreign_code_and_a_missing_one_answer_alike(operator: Operator, foreigner: Operator):
    device = Device.create()
    foreign = foreigner.approve(device)
    missing = foreigner.associate(user_code="BBBB-BBBB", subscriber_code="S-1")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    by_udid = foreigner.associate(udid=device.udid, subscriber_code="S-1")
    assert by_udid.content == missing.content
    assert device.status().json()["status"] == "pending"


@pytest.mark.parametrize("body", [{}, {"user_code": "WDJB-MJHT", "udid": "a-television-of-mine"}])
def test_either_a_code_or_a_udid_is_given(operator: Operator, body: dict[str, str]):
    assert code_of(operator.associate(subscriber_code="S-1", **body)) == (400, "invalid")


def test_a_key_must_say_for_whom(operator: Operator):
    response = operator.associate(user_code=Device.create().user_code)
    assert code_of(response) == (400, "invalid")
    assert response.json()["errors"][0]["pointer"] == "/subscriber_code"


def test_an_approved_pairing_points_at_its_card(operator: Operator):
    device = Device.create()
    operator.approve(device, sn="C-1")
    assert device.row.active_smartcard == Smartcard.objects.get(sn="C-1")
