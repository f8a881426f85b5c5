"""A device at a real gateway: what it is told, when, and what happens to those who misbehave."""

import time
from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from audit import clock
from pairing.models import Pairing, State, Subscriber
from realtime.protocol import Mistake
from stabilizer.ops import totals
from tests.pairing.conftest import Device, Operator
from tests.realtime import hurried
from tests.realtime.conftest import Gateway, OpenSocket


@pytest.fixture
def device(operator: Operator, gateway: Gateway) -> Device:
    return Device.create()


def test_a_device_hears_at_once_that_it_is_approved_and_gets_its_credentials(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    with socket() as tv:
        first = tv.hello(device)
        assert (first["type"], first["version"]) == ("pending", 1)
        assert first["user_code"] == device.user_code
        assert 590 < first["expires_in"] <= 600
        began = time.monotonic()
        assert operator.approve(device).status_code == 200
        approved = tv.hear()
        assert time.monotonic() - began < 1
        assert (approved["type"], approved["version"]) == ("approved", 3)
        assert approved["credentials"]["password"] == "s3cret"
        assert device.row.state == State.DELIVERED
        tv.say("ack")
        assert tv.end() == ({"type": "bye", "code": "finished"}, 4510)
    assert device.row.state == State.ACKNOWLEDGED


def test_polling_tells_the_same(device: Device, operator: Operator, socket: OpenSocket) -> None:
    with socket() as tv:
        pending = tv.hello(device)
        polled = device.status().json()
        assert polled.pop("status") == pending.pop("type")
        assert abs(polled.pop("expires_in") - pending.pop("expires_in")) <= 1
        assert polled == pending
        operator.approve(device)
        approved = tv.hear()
        assert approved == {"type": "approved", "version": 3, **device.collect().json()}


def test_a_denied_device_is_told_and_sent_away(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    with socket() as tv:
        tv.hello(device)
        operator.deny(device.user_code)
        assert tv.hear() == {"type": "denied", "version": 2}
        assert tv.end() == ({"type": "bye", "code": "finished"}, 4510)


def test_a_revoked_device_is_told_instead_of_being_left_waiting(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    with socket() as tv:
        tv.hello(device)
        operator.approve(device)
        tv.hear()
        assert operator.revoke(device.udid).status_code == 200
        assert tv.hear()["type"] == "revoked"
        assert tv.end()[1] == 4510


def test_the_wait_ends_with_the_life_of_the_code(device: Device, socket: OpenSocket) -> None:
    Pairing.objects.update(expires_at=clock.now() + timedelta(seconds=1.5))
    with socket() as tv:
        tv.hello(device)
        assert tv.hear(4)["type"] == "expired"
        assert tv.end() == ({"type": "bye", "code": "finished"}, 4510)


def test_a_renewed_code_is_told_and_the_old_one_is_dead(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    with socket() as tv:
        tv.hello(device)
        tv.say("renew")
        renewed = tv.hear()
        assert (renewed["type"], renewed["version"]) == ("pending", 2)
        assert renewed["user_code"] != device.user_code
        assert operator.approve(device).status_code == 404
        device.user_code = renewed["user_code"]
        assert operator.approve(device).status_code == 200
        assert tv.hear()["type"] == "approved"


def test_renewing_has_the_same_limit_as_by_http(device: Device, socket: OpenSocket) -> None:
    with socket() as tv:
        tv.hello(device)
        heard = []
        for _ in range(6):
            tv.say("renew")
            heard.append(tv.hear())
        assert [each["type"] for each in heard] == ["pending"] * 5 + ["error"]
        assert heard[-1]["code"] == "rate_limited"
        assert 0 < heard[-1]["retry_after_ms"] <= 60_000


def test_credentials_come_again_until_they_are_acknowledged(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    with socket() as tv:
        tv.hello(device)
        operator.approve(device)
        first = tv.hear()
    with socket() as tv:
        assert tv.hello(device) == first
    with socket() as tv:
        # One that says it has them is not told again, and may acknowledge.
        tv.say("hello", udid=device.udid, device_code=device.bearer, resume=3)
        tv.hear_nothing(0.3)
        tv.say("ack")
        assert tv.end()[1] == 4510
    with socket() as tv:
        assert tv.hello(device) == {"type": "bye", "code": "finished"}


def test_who_claims_to_know_more_than_there_is_is_told_all(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    with socket() as tv:
        assert tv.hello(device, resume=1000)["type"] == "pending"
        operator.approve(device)
        assert tv.hear()["type"] == "approved"


def test_a_locked_subscriber_gets_nothing_and_is_told_once(
    device: Device, operator: Operator, socket: OpenSocket
) -> None:
    operator.approve(device)
    Subscriber.objects.update(state=Subscriber.State.LOCKED)
    with socket() as tv:
        assert tv.hello(device) == {"type": "error", "code": "access_denied"}
        tv.hear_nothing(0.5)
    assert device.row.state == State.APPROVED


def test_acknowledging_what_was_not_delivered_is_an_error(
    device: Device, socket: OpenSocket
) -> None:
    with socket() as tv:
        tv.hello(device)
        tv.say("ack")
        assert tv.hear() == {"type": "error", "code": "not_delivered"}


@pytest.mark.parametrize(
    ("udid", "device_code"),
    [("another-device-01", None), (None, "dc_1_forged"), (None, "x" * 128)],
)
def test_a_device_code_of_another_device_or_of_nobody_opens_nothing(
    device: Device, socket: OpenSocket, udid: str | None, device_code: str | None
) -> None:
    with socket() as tv:
        tv.say("hello", udid=udid or device.udid, device_code=device_code or device.bearer)
        assert tv.end() == ({"type": "bye", "code": "unauthorized"}, 4501)


def test_five_connections_of_a_device_are_kept_and_the_sixth_is_told_when_to_return(
    device: Device, operator: Operator, socket: OpenSocket, redis_client: Any
) -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        five = [stack.enter_context(socket()) for _ in range(5)]
        for tv in five:
            tv.hello(device)
        with socket() as sixth:
            bye = sixth.hello(device)
            assert (bye["type"], bye["code"]) == ("bye", "too_many_connections")
            assert 5000 <= bye["retry_after_ms"] <= 15000
            assert sixth.closed() == 4429
        operator.approve(device)
        assert {tv.hear()["type"] for tv in five} == {"approved"}
    deadline = time.monotonic() + 5
    while not (counted := redis_client.hget(totals.TOTALS, "turned_away|too_many_connections")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert counted == b"1"


def test_who_says_nothing_is_sent_away_in_time(device: Device, socket: OpenSocket) -> None:
    with socket() as tv:
        began = time.monotonic()
        bye, code = tv.end()
        assert (bye["code"], code) == ("late_hello", 4401)
        assert 0.9 * hurried.GREET_S < time.monotonic() - began < hurried.GREET_S + 1
        assert bye["retry_after_ms"] > 0


def test_who_answers_pings_stays_and_who_does_not_is_sent_away(
    device: Device, socket: OpenSocket
) -> None:
    with socket() as tv, socket() as mute:
        tv.hello(device)
        mute.hello(device)
        mute.mute = True
        began = time.monotonic()
        tv.hear_nothing(2 * (hurried.PING_S + hurried.PONG_S))
        assert mute.end()[0]["code"] == "no_pong"
        assert time.monotonic() - began < 4
        tv.say("renew")
        assert tv.hear()["type"] == "pending"


@pytest.mark.parametrize(
    ("frame", "mistake"),
    [
        ("{", Mistake.MALFORMED),
        ("[" * 4000, Mistake.MALFORMED),
        ("", Mistake.MALFORMED),
        ('{"type":"hello"}', Mistake.INVALID),
        ('{"type":"hello","udid":1,"device_code":"x"}', Mistake.INVALID),
        ('{"type":"pong","more":1}', Mistake.UNKNOWN_FIELD),
        ('{"type":"approved"}', Mistake.UNKNOWN_TYPE),
        ("null", Mistake.INVALID),
        (b"\x00\xff", Mistake.BINARY),
        ("x" * 4097, Mistake.TOO_LARGE),
        ('{"type":"ack"}', Mistake.HELLO_FIRST),
        ('{"type":"renew"}', Mistake.HELLO_FIRST),
    ],
)
def test_a_mistake_is_named_and_forgiven(
    device: Device, socket: OpenSocket, gateway: Gateway, frame: str | bytes, mistake: Mistake
) -> None:
    with socket() as tv:
        tv.send(frame)
        assert tv.hear() == {"type": "error", "code": mistake.code}
        assert tv.hello(device)["type"] == "pending"
        tv.say("hello", udid=device.udid, device_code=device.bearer)
        assert tv.hear() == {"type": "error", "code": "hello_twice"}
    assert gateway.complaints == []


def test_what_is_no_text_or_far_too_long_ends_the_connection_and_nothing_else(
    device: Device, socket: OpenSocket, gateway: Gateway
) -> None:
    with socket() as tv, socket() as other:
        other.hello(device)
        tv.send("x" * 70_000)
        assert tv.closed() == 1009
        other.say("renew")
        assert other.hear()["type"] == "pending"
    with socket() as tv:
        tv.connection.send(b"\xff\xfe", text=True)
        assert tv.closed() == 1007
    assert gateway.complaints == []


def test_who_talks_too_much_is_warned_and_then_sent_away(
    device: Device, socket: OpenSocket
) -> None:
    with socket() as tv:
        tv.hello(device)
        for _ in range(11):
            tv.send("{}")
        tv.mute = True
        heard = [tv.hear() for _ in range(10)]
        assert [each["code"] for each in heard] == ["unknown_type"] * 9 + ["too_many_messages"]
        bye, code = tv.end()
        assert (bye["code"], code) == ("too_many_messages", 4429)


def test_pages_of_other_sites_may_not_connect_but_our_own_may_and_whoever_is_no_page(
    device: Device, socket: OpenSocket
) -> None:
    with pytest.raises(InvalidStatus) as refused, socket(origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with socket(origin="https://tv.example.com") as tv:
        assert tv.hello(device)["type"] == "pending"


def test_there_is_no_other_path(gateway: Gateway) -> None:
    from websockets.sync.client import connect

    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://127.0.0.1:{gateway.port}/ws/else/", proxy=None),
    ):
        pass
    assert refused.value.response.status_code == 403
    assert gateway.complaints == []


def test_what_is_done_over_a_connection_is_in_the_trail_with_its_client(
    device: Device, operator: Operator, socket: OpenSocket, gateway: Gateway
) -> None:
    from audit import entry
    from audit.models import Outbox

    with socket(address="198.51.100.77") as tv:
        tv.hello(device)
        operator.approve(device)
        tv.hear()
        tv.say("ack")
        tv.end()
    said = [entry.decode(row.entry) for row in Outbox.objects.all()]
    delivered = [each for each in said if each["action"] == "pairing.delivered"]
    assert [each["address"] for each in delivered] == ["198.51.100.77"]
    assert len({each["request_id"] for each in said if each["address"] == "198.51.100.77"}) == 1
