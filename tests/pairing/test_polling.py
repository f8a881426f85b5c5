"""How often a device may ask, and what asking never costs."""

import pytest
import redis

from pairing import device_code, limits, polling
from pairing.device_code import DeviceCode
from ratelimit.models import LimitRow, PolicyRow
from tests.pairing.conftest import Device, Operator

DEVICE = DeviceCode(1, "digest")


@pytest.fixture
def later(redis_client: redis.Redis):
    """Makes time pass for one device's polls: the script reads the server's clock."""

    def let_pass(device: DeviceCode, seconds: float) -> None:
        name = f"poll:{{{device.tenant_id}}}:{device.digest}"
        interval, last = redis_client.get(name).split()
        redis_client.set(name, f"{interval.decode()} {int(last) - int(seconds * 1000)}")

    return let_pass


def parsed(device: Device) -> DeviceCode:
    code = device_code.parse(device.bearer)
    assert code is not None
    return code


def test_polls_an_interval_apart_are_admitted(later):
    for _ in range(10):
        assert polling.poll(DEVICE).admitted
        later(DEVICE, 5)


def test_each_early_poll_widens_the_interval_by_five_seconds_up_to_sixty():
    polls = [polling.poll(DEVICE) for _ in range(15)]
    assert [poll.interval_s for poll in polls] == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55] + [
        60
    ] * 4
    assert [poll.admitted for poll in polls] == [True] + [False] * 14


def test_a_widened_interval_stays_wide(later):
    polling.poll(DEVICE)
    polling.poll(DEVICE)
    later(DEVICE, 10)
    assert polling.poll(DEVICE).interval_s == 10
    later(DEVICE, 9)
    assert not polling.poll(DEVICE).admitted


def test_the_networks_jitter_is_forgiven(later):
    polling.poll(DEVICE)
    later(DEVICE, 4.8)
    assert polling.poll(DEVICE).admitted


def test_devices_do_not_share_their_interval():
    polling.poll(DEVICE)
    assert polling.poll(DeviceCode(1, "another")).admitted
    assert polling.poll(DeviceCode(2, "digest")).admitted


def test_a_clock_set_back_holds_nobody_up(later):
    polling.poll(DEVICE)
    later(DEVICE, -3600)
    assert polling.poll(DEVICE).admitted


def test_without_the_store_every_poll_is_admitted(store_away: None):
    assert all(polling.poll(DEVICE).admitted for _ in range(3))
    polling.forget(1, "digest")


def test_an_admin_changes_the_interval(operator: Operator):
    policy, _ = PolicyRow.objects.get_or_create(name="pairing.status")
    LimitRow.objects.update_or_create(
        policy=policy, name="interval", defaults={"quantity": 1, "window_s": 8}
    )
    limits.reload()
    try:
        device = Device.create()
        assert device.created["interval"] == 8
        assert device.status().json()["interval"] == 8
    finally:
        LimitRow.objects.all().delete()
        limits.reload()


# Through the API


def test_a_poll_that_is_too_early_is_told_so_without_a_query(
    operator: Operator, django_assert_num_queries
):
    device = Device.create()
    assert device.status().status_code == 200
    with django_assert_num_queries(0):
        response = device.status()
    assert (response.status_code, response.json()["code"]) == (429, "slow_down")
    assert response.json()["interval"] == 10
    assert response["Retry-After"] == str(response.json()["retry_after"]) == "10"


def test_a_poll_costs_one_query(operator: Operator, django_assert_num_queries):
    device = Device.create()
    with django_assert_num_queries(1):
        assert device.status().json()["status"] == "pending"


@pytest.mark.django_db(transaction=True)
def test_a_device_that_polls_every_100_ms_is_slowed_down_keeps_its_code_and_collects(
    operator: Operator,
):
    """Fault 18, and defect 4: polls consumed attempts, so a TV killed its own code."""
    device = Device.create()
    answers = [device.status() for _ in range(100)]
    assert [answer.status_code for answer in answers] == [200] + [429] * 99
    assert operator.approve(device).status_code == 200
    assert device.status().json()["status"] == "approved"
    assert device.status().status_code == 429
    assert device.collect().status_code == 200


def test_a_device_code_we_did_not_make_is_refused_without_a_query(
    operator: Operator, django_assert_num_queries
):
    device = Device.create()
    for forged in ("", device.bearer[:-1] + "x", "dc_1_x_y", "stb_abc_def"):
        device.bearer = forged
        with django_assert_num_queries(0):
            for call in (device.status, device.collect, device.acknowledge, device.renew):
                assert call().status_code == 401, call


def test_a_device_asks_about_itself_only(operator: Operator):
    device, other = Device.create(), Device.create()
    device.udid = other.udid
    assert device.status().json()["code"] == "not_found"


def test_a_pairing_past_its_time_is_gone(operator: Operator, clock, later):
    device = Device.create()
    clock.advance(599)
    assert device.status().json()["expires_in"] in (0, 1)
    clock.advance(2)
    later(parsed(device), 60)
    response = device.status()
    assert (response.status_code, response.json()["code"]) == (410, "expired")
