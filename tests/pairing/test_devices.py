"""The devices of a subscriber: seen, named, signed out, and never by strangers."""

from collections.abc import Callable

import pytest

from accounts import snapshot, tokens
from accounts.models import Scope, Tenant
from pairing.models import Pairing, State
from tests.pairing.conftest import Caller, Device, Operator, key_of, subscribe


@pytest.fixture
def device(operator: Operator) -> Device:
    return signed_in(operator)


def signed_in(operator: Operator, subscriber_code: str = "S-1", **facts: str) -> Device:
    device = Device.create(**facts)
    assert operator.approve(device, subscriber_code).status_code == 200
    assert device.collect().status_code == 200
    assert device.acknowledge().status_code == 204
    return device


def code_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def udids(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [device["udid"] for device in response.json()["results"]]


def test_active_devices_are_listed_with_what_people_know_them_by(operator: Operator):
    signed_in(operator, udid="living-room-tv-01", name="Living room", model="OLED55")
    Device.create(udid="still-waiting-tv-01")
    (listed,) = operator.get("/api/v1/devices/").json()["results"]
    assert listed["udid"] == "living-room-tv-01"
    assert listed["name"] == "Living room"
    assert listed["status"] == "acknowledged"
    assert (listed["subscriber_code"], listed["sn"]) == ("S-1", "C-1")


def test_the_list_is_searched_by_subscriber_udid_and_name(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-2", "C-3")
    signed_in(operator, udid="living-room-tv-01", name="Oak")
    signed_in(operator, udid="living-room-tv-02")
    signed_in(operator, "S-2", udid="kitchen-television")
    path = "/api/v1/devices/"
    assert len(udids(operator.get(path))) == 3
    assert udids(operator.get(path, subscriber_code="S-2")) == ["kitchen-television"]
    assert udids(operator.get(path, search="living")) == ["living-room-tv-01", "living-room-tv-02"]
    assert udids(operator.get(path, search="oak")) == ["living-room-tv-01"]
    assert udids(operator.get(path, search="%")) == []
    assert code_of(operator.get(path, serch="x")) == (400, "unknown_field")


def test_a_page_of_devices_costs_one_query(operator: Operator, django_assert_num_queries):
    for _ in range(2):
        signed_in(operator)
    with django_assert_num_queries(1):
        page = operator.get("/api/v1/devices/", limit="1").json()
    assert len(page["results"]) == 1
    assert udids(operator.http.get(page["next"], headers=operator._headers())) != udids_of(page)


def udids_of(page: dict) -> list[str]:
    return [device["udid"] for device in page["results"]]


def test_a_device_is_given_a_name(
    operator: Operator, device: Device, changes: Callable[[], list[str]]
):
    changes()
    path = f"/api/v1/devices/{device.udid}/"
    response = operator.send("PATCH", path, {"name": "Küche"})
    assert response.json()["name"] == "Küche"
    assert device.row.name == "Küche"
    assert changes() == ["device.renamed"]


def test_a_revoked_device_is_signed_out_and_its_card_is_free(
    operator: Operator, changes: Callable[[], list[str]]
):
    device = Device.create()
    operator.approve(device, sn="C-1")
    token = device.collect().json()["access_token"]
    device.acknowledge()
    changes()
    response = operator.revoke(device.udid, reason="sold")
    assert response.json() == {"udid": device.udid, "status": "revoked"}
    assert changes() == ["pairing.revoked", "token.revoked"]
    assert (device.row.state, device.row.ended_reason) == (State.REVOKED, "sold")
    snapshot.reload()
    assert tokens.verify(token) is None
    assert code_of(device.collect()) == (403, "access_denied")
    assert operator.approve(Device.create(), sn="C-1").status_code == 200
    assert code_of(operator.revoke(device.udid)) == (409, "already_revoked")


def test_a_device_that_only_waits_cannot_be_revoked(operator: Operator):
    assert code_of(operator.revoke(Device.create().udid)) == (404, "not_found")


def test_an_approved_device_is_revoked_before_it_collects(operator: Operator):
    device = Device.create()
    operator.approve(device)
    assert operator.revoke(device.udid).status_code == 200
    assert code_of(device.collect()) == (403, "access_denied")


def test_all_devices_of_a_subscriber_are_revoked_at_once(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-2", "C-3")
    mine = [signed_in(operator) for _ in range(2)]
    other = signed_in(operator, "S-2")
    path = "/api/v1/subscribers/S-1/devices/revoke/"
    assert operator.post(path).json() == {"subscriber_code": "S-1", "revoked": 2}
    assert {device.row.state for device in mine} == {State.REVOKED}
    assert other.row.state == State.ACKNOWLEDGED
    assert operator.post(path).json()["revoked"] == 0


def test_foreign_devices_and_missing_ones_answer_alike(
    operator: Operator, foreigner: Operator, device: Device
):
    def calls(udid: str, code: str) -> list:
        return [
            foreigner.revoke(udid),
            foreigner.send("PATCH", f"/api/v1/devices/{udid}/", {"name": "mine"}),
            foreigner.post(f"/api/v1/subscribers/{code}/devices/revoke/"),
            foreigner.get(f"/api/v1/subscribers/{code}/"),
        ]

    subscribe(Tenant.objects.get(slug="acme"), "S-only-here", "C-8")
    foreign = calls(device.udid, "S-only-here")
    missing = calls("never-seen-anywhere", "S-nowhere")
    assert [response.status_code for response in foreign] == [404] * 4
    for one, other in zip(foreign, missing, strict=True):
        assert one.content == other.content
    assert udids(foreigner.get("/api/v1/devices/")) == []
    assert device.row.state == State.ACKNOWLEDGED


def test_each_call_needs_its_scope(operator: Operator, tenant: Tenant, device: Device):
    """Defect 12: anyone could associate, revoke and list."""
    reader = Operator(key_of(tenant, Scope.DEVICES_READ))
    writer = Operator(key_of(tenant, Scope.DEVICES_WRITE))
    path = f"/api/v1/devices/{device.udid}/"
    assert reader.get("/api/v1/devices/").status_code == 200
    assert code_of(reader.send("PATCH", path, {"name": "x"})) == (403, "permission_denied")
    assert code_of(reader.revoke(device.udid)) == (403, "permission_denied")
    assert code_of(reader.post("/api/v1/subscribers/S-1/devices/revoke/")) == (
        403,
        "permission_denied",
    )
    assert code_of(writer.get("/api/v1/devices/")) == (403, "permission_denied")
    assert writer.revoke(device.udid).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/pairings/associate/"),
        ("POST", "/api/v1/pairings/deny/"),
        ("GET", "/api/v1/devices/"),
        ("PATCH", "/api/v1/devices/living-room-tv-01/"),
        ("POST", "/api/v1/devices/living-room-tv-01/revoke/"),
        ("POST", "/api/v1/subscribers/S-1/devices/revoke/"),
        ("GET", "/api/v1/subscribers/"),
        ("GET", "/api/v1/subscribers/S-1/"),
        ("PUT", "/api/v1/subscribers/S-1/"),
    ],
)
def test_nobody_in_particular_may_nothing(operator: Operator, method: str, path: str):
    """Defect 12, and a device_code is not an identity for anything but its own pairing."""
    for bearer in ("", "stb_aaaaaaaaaa_bbb", Device.create().bearer):
        response = Caller(bearer).send(method, path, {} if method != "GET" else None)
        assert code_of(response) == (401, "not_authenticated")


def test_a_subscriber_sees_his_own_devices_only(operator: Operator, tenant: Tenant):
    subscribe(tenant, "S-2", "C-3")
    signed_in(operator, "S-2", udid="kitchen-television")
    signed_in(operator, udid="living-room-tv-01")
    family = tokens.start_family(tenant, "S-1", "phone", ["devices:read", "devices:write"])
    anna = Operator(tokens.issue(family).access_token)
    assert udids(anna.get("/api/v1/devices/")) == ["living-room-tv-01"]
    assert code_of(anna.revoke("kitchen-television")) == (404, "not_found")
    assert code_of(anna.post("/api/v1/subscribers/S-2/devices/revoke/")) == (404, "not_found")
    assert anna.revoke("living-room-tv-01").status_code == 200
    assert Pairing.objects.filter(state=State.ACKNOWLEDGED).count() == 1
