"""Whom the gate refuses, before any view."""

from pairing import device_code
from tests.pairing.conftest import Caller, key_of
from tests.stabilizer.changes.acts import Change, act
from tests.stabilizer.changes.stage import Stage

CREATE, ACK = "POST /api/v1/pairings/", "POST /api/v1/pairings/<udid:udid>/ack/"
ONES_OWN_ACK = f"/api/v1/pairings/{'U' * 16}/ack/"


@act(CREATE, "gate.refused", status=429)
def a_device_asks_for_too_many_codes(stage: Stage) -> Change:
    udid = "U" * 16
    for _ in range(5):
        stage.device(udid=udid)
    return lambda: Caller(address="203.0.113.9").post(
        "/api/v1/pairings/", {"app_type": "tv", "udid": udid}
    )


@act("GET /api/v1/devices/", "gate.refused", by="key:", status=429)
def a_key_has_used_its_plan_up(stage: Stage) -> Change:
    stage.tenant.plan.per_minute = 1
    stage.tenant.plan.save()
    caller = Caller(key_of(stage.tenant, "devices:read"))
    assert caller.get("/api/v1/devices/").status_code == 200
    return lambda: caller.get("/api/v1/devices/")


@act(ACK, "gate.refused", status=503)
def a_device_finds_no_slot(stage: Stage) -> Change:
    caller = Caller(device_code.mint(stage.tenant.pk))
    stage.control.start_now()
    stage.control.slots.queue_length = 0
    stage.control.slots.resize(0)
    return lambda: caller.post(ONES_OWN_ACK)


@act(ACK, "gate.refused", status=401)
def somebody_forges_a_device_code(stage: Stage) -> Change:
    forged = "dc_1_" + "A" * 43 + "_" + "B" * 22
    return lambda: Caller(forged).post(ONES_OWN_ACK)


@act(CREATE, "gate.refused", status=413)
def somebody_sends_too_much(stage: Stage) -> Change:
    return lambda: Caller().post("/api/v1/pairings/", {"name": "x" * 70_000})
