"""What an operator's own system does with an API key."""

from collections.abc import Callable

from django.http import HttpResponse

from tests.stabilizer.changes.acts import Change, act
from tests.stabilizer.changes.acts_of_devices import SIGNED_OUT, expire
from tests.stabilizer.changes.stage import Stage

ASSOCIATE = "POST /api/v1/pairings/associate/"
DEVICE = "/api/v1/devices/<udid:udid>/"
SUBSCRIBER = "/api/v1/subscribers/<code:code>/"


@act(ASSOCIATE, "pairing.approved", by="key:")
def a_key_approves(stage: Stage) -> Change:
    device = stage.device()
    return lambda: stage.operator.approve(device)


@act(ASSOCIATE, *SIGNED_OUT, "pairing.approved", by="key:")
def a_key_approves_a_device_in_place_of_itself(stage: Stage) -> Change:
    udid = stage.signed_in()[0].udid
    again = stage.device(udid=udid)
    return lambda: stage.operator.approve(again)


@act(ASSOCIATE, "pairing.expired", "pairing.approved", by="time|key:")
def a_key_approves_on_a_card_that_was_never_collected(stage: Stage) -> Change:
    late, device = stage.approved(), stage.device()
    expire(late.row)
    sn = late.row.smartcard.sn
    return lambda: stage.operator.approve(device, sn=sn)


@act(ASSOCIATE, "code.unknown", by="key:", status=404)
def a_key_tries_a_wrong_code(stage: Stage) -> Change:
    return lambda: stage.operator.associate(user_code="BCDF-GHJK", subscriber_code="S-1")


@act("POST /api/v1/pairings/deny/", "pairing.denied", by="key:")
def a_key_denies(stage: Stage) -> Change:
    device = stage.device()
    return lambda: stage.operator.deny(device.user_code)


@act(f"PATCH {DEVICE}", "device.renamed", by="key:")
def a_key_renames_a_device(stage: Stage) -> Change:
    path = f"/api/v1/devices/{stage.approved().udid}/"
    return lambda: stage.operator.send("PATCH", path, {"name": "Den"})


@act(f"POST {DEVICE}revoke/", *SIGNED_OUT, by="key:")
def a_key_revokes_a_device(stage: Stage) -> Change:
    device, _ = stage.signed_in()
    return lambda: stage.operator.revoke(device.udid)


@act(f"POST {SUBSCRIBER}devices/revoke/", *SIGNED_OUT, *SIGNED_OUT, by="key:")
def a_key_revokes_all_devices_of_a_subscriber(stage: Stage) -> Change:
    stage.signed_in()
    stage.signed_in()
    return lambda: stage.operator.post("/api/v1/subscribers/S-1/devices/revoke/")


@act(f"PUT {SUBSCRIBER}", "subscriber.changed", by="key:")
def a_key_adds_a_subscriber(stage: Stage) -> Change:
    body = {"name": "Bea", "smartcards": ["C-9"], "credentials": {"login1": "bea"}}
    return put(stage, "S-2", body)


@act(f"PUT {SUBSCRIBER}", "subscriber.changed", by="key:")
def a_key_takes_a_subscribers_cards(stage: Stage) -> Change:
    return put(stage, "S-1", {"smartcards": []})


@act(f"PUT {SUBSCRIBER}", status=409)
def a_key_cannot_take_a_card_that_is_in_use(stage: Stage) -> Change:
    stage.approved()
    return put(stage, "S-1", {"smartcards": []})


def put(stage: Stage, code: str, body: dict[str, object]) -> Callable[[], HttpResponse]:
    return lambda: stage.operator.send("PUT", f"/api/v1/subscribers/{code}/", body)
