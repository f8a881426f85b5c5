"""Faults of what the trail stands on, in the service as it runs."""

import json
import time

import pytest
from redis import Redis

from audit import entry, frames, registry
from dev.chaos.stack import WEB
from tests.audit.test_deadletters import poison
from tests.faults.conftest import Service

pytestmark = pytest.mark.processes


def test_a_read_only_database_serves_reads_and_refuses_changes(service: Service):
    created, approved = service.create(1), service.create(2)
    assert service.approve(2, approved).status == 200
    service.sql("SET GLOBAL read_only = 1", root=True)
    try:
        refused = service.approve(1, created)
        assert (refused.status, refused.document["code"]) == (503, "database_unavailable")
        code = approved.document["device_code"]
        path = "/api/v1/pairings/fault-device-000002/"
        assert service.get(path, bearer=code).document["status"] == "approved"
        assert "read-only" in service.logs("web")
        assert " ERROR accounts.answers " in service.logs("web")
    finally:
        service.sql("SET GLOBAL read_only = 0", root=True)
    assert service.approve(1, created).status == 200
    assert service.events(created.request_id) == ["pairing.created"]


def test_a_full_spool_refuses_changes_and_tells_of_reports_when_it_is_not(service: Service):
    created = service.create(3)
    filler = service.stack.run_dir / "spool" / "filler"
    with filler.open("wb") as file:
        file.truncate(300 * 1024 * 1024)
    try:
        # A process looks at the quota when it opens its spool, and after each stride.
        for name in WEB:
            service.stack.kill(name)
            service.stack.start(name)
        refused = service.approve(3, created)
        assert (refused.status, refused.document["code"]) == (503, "audit_unavailable")
        silent = [service.create(number) for number in (4, 5, 6)]
        assert [each.status for each in silent] == [201, 201, 201]
        assert " ERROR audit.spool " in service.logs("web")
    finally:
        filler.unlink()
    time.sleep(1.1)  # a spool that failed is tried again after a second
    for number in range(7, 15):
        assert service.approve(3, created).status in (200, 409)
        service.create(number)
    told = "SELECT entry FROM audit_event WHERE action = 'audit.suppressed'"

    def suppressed() -> int:
        return sum(json.loads(text)[-1]["records"] for (text,) in service.sql(told))

    service.await_(lambda: suppressed() >= len(silent), "what was suppressed")
    for each in silent:
        found = "SELECT 1 FROM audit_event WHERE request_id = %s AND action = 'pairing.created'"
        assert service.sql(found, each.request_id) == []


@pytest.mark.parametrize("agent", [b"\xff\xfe\xf5", b"x" * 30_000, "'; DROP TABLE x --"])
def test_whatever_a_client_calls_itself_its_event_is_readable(service: Service, agent):
    created = service.create(20 + len(agent) % 7, **{"User-Agent": agent})
    assert created.status == 201
    assert service.events(created.request_id) == ["pairing.created"]
    (text,) = service.sql("SELECT entry FROM audit_event WHERE request_id = %s", created.request_id)
    assert 0 < len(entry.decode(text[0])["user_agent"]) <= 256


def test_a_user_agent_of_a_megabyte_hurts_nobody(service: Service):
    try:
        status = service.create(30, **{"User-Agent": "x" * 2**20}).status
    except OSError:
        status = 0  # hung up on
    assert status in (0, 201, 400, 431)
    assert service.create(31).status == 201


def test_of_five_hundred_records_one_is_poison_and_one_is_torn(service: Service):
    action = registry.ACTIONS["login.failed"]
    texts = [entry.encode(entry.Draft(action, "ok", f"t:{number}"))[1] for number in range(500)]
    texts[250] = poison(subject="p" * 201)
    data = bytearray(b"".join(map(frames.pack, texts)))
    data[100] ^= 1
    spool = service.stack.run_dir / "spool" / "foreign.host.1.1.000001.spool"
    draft = spool.with_suffix(".draft")
    draft.write_bytes(data)
    draft.rename(spool)
    service.await_(lambda: not spool.exists(), "the foreign spool to be stored")
    found = "SELECT COUNT(*) FROM audit_event WHERE producer = 'foreign.host.1.1'"
    ((stored,),) = service.sql(found)
    assert stored == 498
    _, letters = service.manage("dlq", "list")
    dead = {letter["reason"]: letter for letter in letters}
    assert set(dead) == {"damaged", "unreadable"}
    mended = json.loads(dead["unreadable"]["entry"])
    mended[entry._FIELDS.index("subject")] = "t:250"
    service.sql(
        "UPDATE audit_deadletter SET entry = %s WHERE id = %s",
        json.dumps(mended),
        dead["unreadable"]["id"],
    )
    number = str(dead["unreadable"]["id"])
    assert service.manage("dlq", "replay", number) == (0, [{"stored": 1, "dead": 0}])
    assert service.sql("SELECT COUNT(*) FROM audit_event WHERE subject = 't:250'") == [(1,)]
    status, dropped = service.manage("dlq", "drop", "--all", "--why", "torn by a test")
    assert (status, dropped) == (0, [{"dropped": 1}])


def test_a_spool_that_is_removed_before_it_is_stored_is_told(service: Service):
    service.stack.kill("worker")
    created = service.create(40)
    spool_dir = service.stack.run_dir / "spool"

    def cut() -> list[str]:
        ledgers = [(path, json.loads(path.read_text())) for path in spool_dir.glob("*.ledger")]
        return [path.stem for path, ledger in ledgers if ledger["unstored"]]

    service.await_(lambda: bool(cut()), "a segment on its way")
    service.stack.kill("shipper")
    with Redis.from_url(service.stack.env["REDIS_URL"]) as client:
        client.flushall()
    (lost,) = cut()
    (spool_dir / f"{lost}.spool").unlink()
    for name in (*WEB, "worker", "shipper"):
        if name in WEB:
            service.stack.kill(name)
        service.stack.start(name)
    found = "SELECT subject FROM audit_event WHERE action = 'audit.records_missing'"
    service.await_(lambda: bool(service.sql(found)), "the loss to be told")
    assert service.sql(found) == [(lost,)]
    assert service.sql("SELECT 1 FROM audit_event WHERE request_id = %s", created.request_id) == []


def test_a_trail_that_was_tampered_with_is_told_with_its_first_bad_row(service: Service):
    status, (report,) = service.manage("verify")
    assert (status, report["fault"]) == (0, None)
    service.sql("UPDATE audit_event SET outcome = 'forged' WHERE number = 5")
    status, (report,) = service.manage("verify")
    assert (status, report["fault"]["number"], report["fault"]["wrong"]) == (1, 5, "altered")
    service.sql("DELETE FROM audit_event WHERE number = 3")
    status, (report,) = service.manage("verify")
    assert (status, report["fault"]["number"], report["fault"]["wrong"]) == (1, 3, "missing")
