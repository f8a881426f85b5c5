"""The unprotected service does what the stampede asks of it, and keeps what it is compared for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import MySQLdb
import pytest

from bench.stampede.contestant import Contestant, Running
from bench.stampede.starts import unprotected
from stabilizer.env import ROOT
from stabilizer.stampede.device import Identity, are_right

pytestmark = pytest.mark.processes
DEVICE = Identity(0, 0)
UDID = DEVICE.udid


@pytest.fixture(scope="module")
def service(open_directory: Path) -> Iterator[Running]:
    contestant = Contestant("unprotected", "", "", unprotected)
    with contestant.running(open_directory) as running:
        yield running


@pytest.fixture
def client(service: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{service.url}/api/v1/", timeout=10) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def create(client: httpx.Client, udid: str = UDID) -> dict[str, str]:
    answer = client.post("pairings/", json={"app_type": "stampede", "udid": udid})
    assert answer.status_code == 201
    created: dict[str, str] = answer.json()
    return created


def associate(
    client: httpx.Client, service: Running, created: dict[str, str], sn: str = DEVICE.smartcard_sn
) -> httpx.Response:
    asked = {"user_code": created["user_code"], "subscriber_code": "S000001", "sn": sn}
    return client.post("pairings/associate/", json=asked, headers=bearer(service.api_key))


def revoke(client: httpx.Client, service: Running, udid: str = UDID) -> int:
    answer = client.post(f"devices/{udid}/revoke/", json={}, headers=bearer(service.api_key))
    return answer.status_code


def trail(service: Running, udid: str) -> list[str]:
    port = int(service.supervisor.servers[0].url.rpartition(":")[2].partition("/")[0])
    connection = MySQLdb.connect(host="127.0.0.1", port=port, user="root", db="stabilizer")
    with connection, connection.cursor() as cursor:
        select = "SELECT action FROM unprotected_auditentry WHERE udid = %s ORDER BY id"
        cursor.execute(select, [udid])
        return [action for (action,) in cursor.fetchall()]


def test_a_device_is_paired_collects_acknowledges_and_leaves(client, service):
    created = create(client)
    own = bearer(created["device_code"])
    assert associate(client, service, created).status_code == 200
    assert client.get(f"pairings/{UDID}/", headers=own).json()["status"] == "approved"
    delivered = client.post(f"pairings/{UDID}/credentials/", headers=own)
    assert delivered.status_code == 200
    assert are_right(delivered.json(), DEVICE)
    assert client.post(f"pairings/{UDID}/ack/", headers=own).status_code == 204
    assert revoke(client, service) == 200

    assert trail(service, UDID) == [
        "udid_generated",
        "udid_used",
        "udid_validated",
        "udid_used",
        "udid_acknowledged",
        "udid_revoked",
    ]


def test_a_lost_delivery_cannot_be_repeated(client, service):
    created = create(client, "stampede-repeated")
    sn = Identity(1_000, 0).smartcard_sn
    assert associate(client, service, created, sn).status_code == 200
    path, own = "pairings/stampede-repeated/credentials/", bearer(created["device_code"])

    assert [client.post(path, headers=own).status_code for _ in range(2)] == [200, 403]


def test_a_card_is_given_to_one_device_and_a_code_is_used_once(client, service):
    first, second = create(client, "stampede-first-00"), create(client, "stampede-second-0")
    sn = Identity(2_000, 0).smartcard_sn

    assert associate(client, service, first, sn).status_code == 200
    again = associate(client, service, first, sn)
    assert (again.status_code, again.json()["code"]) == (409, "already_approved")
    assert associate(client, service, second, sn).status_code == 400
    assert [revoke(client, service, "stampede-first-00") for _ in range(2)] == [200, 409]
    assert associate(client, service, second, sn).status_code == 200


def test_only_the_operators_key_approves_and_revokes(client, service):
    stranger = {"url": "http://stranger", "api_key": "wrong", "supervisor": service.supervisor}
    created = create(client, "stampede-stranger")

    assert associate(client, Running(**stranger), created).status_code == 401
    assert revoke(client, Running(**stranger), "stampede-stranger") == 401


def test_its_migration_is_of_its_models(service):
    command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
    env = {"DJANGO_SETTINGS_MODULE": "bench.unprotected.settings"}
    checked = subprocess.run(
        command,
        cwd=ROOT,
        env={**env, "DATABASE_URL": service.supervisor.servers[0].url},
        capture_output=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_it_shares_no_code_with_what_it_is_compared_with():
    code = "import sys, bench.unprotected.wsgi; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DATABASE_URL": "mysql://root@127.0.0.1:1/none"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert loaded & {"stabilizer", "pairing", "accounts", "ratelimit", "audit"} == set()
