"""A device's whole way, as its owner and its operator see it."""

from tests.pairing.conftest import SECRETS, Device, Operator


def test_a_device_shows_a_code_is_approved_and_receives_its_credentials(operator: Operator):
    device = Device.create(model="OLED55", udid="living-room-tv-001")
    assert device.udid == "living-room-tv-001"
    assert device.status().json()["status"] == "pending"
    assert device.collect().json()["code"] == "authorization_pending"

    approved = operator.approve(device, sn="C-2")
    assert approved.status_code == 200
    assert approved.json() == {
        "udid": device.udid,
        "status": "approved",
        "subscriber_code": "S-1",
        "sn": "C-2",
    }

    delivered = device.collect()
    assert delivered.status_code == 200, delivered.content
    assert delivered.json()["credentials"] == {"subscriber_code": "S-1", "sn": "C-2", **SECRETS}
    assert device.acknowledge().status_code == 204
    assert device.collect().json()["code"] == "already_collected"
