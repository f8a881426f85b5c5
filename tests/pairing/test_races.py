"""Many at once, on the real database: exact counts, one winner, one reason for all others."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from accounts.models import Tenant, TokenFamily
from pairing.models import Pairing, State
from tests.pairing.conftest import Device, Operator, subscribe

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 50


def at_once(act: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
    """What `act` returns for each argument, called by `THREADS` threads with a connection each."""

    def closing(argument: Any) -> Any:
        try:
            return act(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(closing, arguments))


def outcome(response: Any) -> tuple[int, str]:
    return response.status_code, response.json().get("code", "")


@pytest.mark.parametrize("card", [{}, {"sn": "C-1"}], ids=["any card", "one card"])
def test_of_a_thousand_associations_of_one_code_one_wins(operator: Operator, card: dict[str, str]):
    """Fault 13: the rest hear one and the same code."""
    device = Device.create()
    answers = at_once(lambda _: outcome(operator.approve(device, **card)), range(1000))
    assert Counter(answers) == {(200, ""): 1, (409, "already_approved"): 999}
    assert device.row.version == 2
    assert Pairing.objects.exclude(active_smartcard=None).count() == 1


def test_of_fifty_devices_at_one_smartcard_one_wins(operator: Operator):
    """Fault 14."""
    devices = [Device.create() for _ in range(50)]
    answers = at_once(lambda device: outcome(operator.approve(device, sn="C-1")), devices)
    assert Counter(answers) == {(200, ""): 1, (409, "smartcard_in_use"): 49}
    assert Pairing.objects.filter(state=State.APPROVED).count() == 1
    assert Pairing.objects.filter(state=State.PENDING).count() == 49


def test_devices_that_come_at_once_get_a_card_each(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-3", *(f"C-3{number}" for number in range(20)))
    devices = [Device.create() for _ in range(15)]
    answers = at_once(lambda device: operator.approve(device, "S-3").status_code, devices)
    assert Counter(answers) == {200: 15}
    assert Pairing.objects.exclude(active_smartcard=None).count() == 15


def test_of_two_subscribers_at_one_udid_one_wins(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-2", "C-3")
    devices = [Device.create(udid="a-television-of-mine") for _ in range(20)]
    pairs = [(device, f"S-{1 + number % 2}") for number, device in enumerate(devices)]
    answers = at_once(lambda pair: outcome(operator.approve(*pair)), pairs)
    assert {code for status, code in answers if status != 200} <= {
        "udid_in_use",
        "smartcard_in_use",
        "no_free_smartcard",
        "contended",
    }
    (holder,) = Pairing.objects.filter(active_udid="a-television-of-mine")
    replaced = Pairing.objects.filter(state=State.REVOKED)
    assert {pairing.subscriber_id for pairing in replaced} <= {holder.subscriber_id}


def test_of_fifty_collections_at_once_all_get_the_same_answer(operator: Operator):
    device = Device.create()
    operator.approve(device)
    answers = at_once(lambda _: device.collect(), range(50))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert TokenFamily.objects.count() == 1


def test_approving_denying_and_renewing_at_once_leave_one_outcome(operator: Operator):
    device = Device.create()

    def decide(act: Callable[[str], Any]) -> Any:
        """Type what the screen shows, again whenever a renewal was faster: there are but ten."""
        while (answer := act(device.row.user_code)).status_code == 404:
            pass
        return answer

    acts = {
        "approve": lambda: decide(
            lambda code: operator.associate(user_code=code, subscriber_code="S-1")
        ),
        "deny": lambda: decide(operator.deny),
        "renew": device.renew,
    }
    answers = at_once(lambda act: (act, acts[act]().status_code), [*acts] * 10)
    decisions = [answer for answer in answers if answer[0] != "renew"]
    assert Counter(status for _, status in decisions) == {200: 1, 409: 19}
    row = device.row
    expected = {State.APPROVED: ("approve", 200), State.DENIED: ("deny", 200)}
    assert expected[State(row.state)] in decisions
    assert (row.active_smartcard_id is not None) == (row.state == State.APPROVED)


CALLS = {"renew": Device.renew, "credentials": Device.collect, "ack": Device.acknowledge}


@pytest.mark.parametrize("call", CALLS)
def test_who_was_outrun_each_time_is_told_when_to_return(
    operator: Operator, call: str, monkeypatch: pytest.MonkeyPatch
):
    """It is our fault, not the device's: 503, and nothing was changed."""
    device = Device.create()
    before = device.row
    monkeypatch.setattr("pairing.attempts.TRIES", 0)
    answer = CALLS[call](device)
    assert outcome(answer) == (503, "contended")
    assert answer["Retry-After"] == "1"
    assert (device.row.state, device.row.version) == (before.state, before.version)


def test_revoking_at_once_revokes_once(operator: Operator):
    device = Device.create()
    operator.approve(device)
    answers = at_once(lambda _: outcome(operator.revoke(device.udid)), range(50))
    assert Counter(answers) == {(200, ""): 1, (409, "already_revoked"): 49}
