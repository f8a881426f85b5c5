"""What the predecessor got wrong, over HTTP; the other defects are tests of their own parts.

1 and 7 belong to sockets, 6, 8 and 9 to the limits and the gate, 14 to the trail. 2 and 11 are in
test_delivery, 4 in test_polling, 5 in test_codes, 12 in test_devices.
"""

import re

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Tenant
from pairing import sealed_box
from pairing.models import Pairing, Subscriber
from tests.pairing.conftest import Caller, Device, Operator, subscribe

LOCKS = re.compile(r"FOR UPDATE|LOCK IN SHARE MODE|GET_LOCK", re.IGNORECASE)
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


@pytest.mark.django_db(transaction=True)
def test_defect_3_polling_does_not_make_an_association_wait(operator: Operator):
    device = Device.create()
    for _ in range(20):
        device.status()
    assert operator.approve(device).status_code == 200
    assert device.collect().status_code == 200


def test_defect_5_guessing_is_counted_before_it_succeeds(
    operator: Operator, redis_client: redis.Redis
):
    answers = [operator.associate(user_code="BBBB-BBBB", subscriber_code="S-1") for _ in range(101)]
    assert [answer.status_code for answer in answers] == [404] * 100 + [429]


def test_defect_6_who_polls_too_early_still_gets_through_once_per_interval(
    operator: Operator, redis_client: redis.Redis
):
    device = Device.create()
    device.status()
    for _ in range(20):
        assert device.status().status_code == 429
    (name,) = redis_client.keys("poll:*")
    interval, last = redis_client.get(name).split()
    redis_client.set(name, f"{interval.decode()} {int(last) - 60_000}")
    assert device.status().status_code == 200


def refusals(operator: Operator, tenant: Tenant) -> dict[str, tuple[int, Device, dict[str, str]]]:
    """Every refusal of an association that a look at the rows can give."""
    subscribe(tenant, "S-2", "C-3")
    locked = subscribe(tenant, "S-3", "C-4")
    Subscriber.objects.filter(pk=locked.pk).update(state=Subscriber.State.LOCKED)
    approved, denied = Device.create(), Device.create(udid="a-television-of-mine")
    operator.approve(approved, sn="C-1")
    other = Device.create()
    operator.approve(other, sn="C-2")
    operator.deny(denied.user_code)
    holder = Device.create(udid="another-television")
    operator.approve(holder, "S-2")
    waiting = Device.create()
    return {
        "already_approved": (409, approved, {}),
        "already_denied": (409, denied, {}),
        "unknown_subscriber": (404, waiting, {"subscriber_code": "S-7"}),
        "unknown_smartcard": (404, waiting, {"sn": "C-7"}),
        "smartcard_in_use": (409, waiting, {"sn": "C-1"}),
        "no_free_smartcard": (409, waiting, {}),
        "subscriber_locked": (409, waiting, {"subscriber_code": "S-3"}),
        "udid_in_use": (409, Device.create(udid="another-television"), {"sn": "C-1"}),
    }


@pytest.mark.django_db(transaction=True)
def test_defect_10_no_lock_is_reached_before_every_cheap_check_has_passed(
    operator: Operator, tenant: Tenant
):
    for code, (status, device, more) in refusals(operator, tenant).items():
        with CaptureQueriesContext(connection) as queries:
            response = operator.approve(device, **more)
        assert (response.status_code, response.json()["code"]) == (status, code)
        said = [query["sql"] for query in queries.captured_queries]
        assert all(sql.startswith("SELECT") for sql in said), (code, said)
        assert not any(LOCKS.search(sql) for sql in said)


@pytest.mark.django_db(transaction=True)
def test_defect_10_nothing_is_locked_by_reading_on_the_whole_way(operator: Operator):
    device = Device.create()
    with CaptureQueriesContext(connection) as queries:
        operator.approve(device)
        device.collect()
        device.acknowledge()
        operator.revoke(device.udid)
    assert not any(LOCKS.search(query["sql"]) for query in queries.captured_queries)


@pytest.mark.django_db(transaction=True)
def test_defect_10_the_pairings_row_is_written_when_all_cryptography_is_done(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
):
    from accounts import keyring, tokens

    device = Device.create(public_key=key())
    operator.approve(device)
    locked: list[str] = []
    for module, name in ((keyring, "seal"), (tokens, "issue"), (sealed_box, "seal")):
        monkeypatch.setattr(module, name, watched(getattr(module, name), queries_so_far(), locked))
    with CaptureQueriesContext(connection):
        assert device.collect().status_code == 200
    assert locked == []


def key() -> dict:
    from joserfc.jwk import OKPKey

    return dict(OKPKey.generate_key("X25519").as_dict(private=False))


def queries_so_far():
    return lambda: [query["sql"] for query in connection.queries_log]


def watched(act, queries, locked: list[str]):
    """`act`, noting every write to a pairing's row that came before it."""

    def watching(*arguments, **named):
        locked.extend(sql for sql in queries() if WRITES.match(sql) and "pairing_pairing" in sql)
        return act(*arguments, **named)

    return watching


def test_defect_13_reading_writes_nothing(operator: Operator):
    device = Device.create()
    with CaptureQueriesContext(connection) as queries:
        device.status()
        for path in ("devices/", "subscribers/", "subscribers/S-1/", "subscribers/S-7/", "me/"):
            operator.get(f"/api/v1/{path}")
        for path in ("/api/v1/pairings/", "/api/v1/pairings/never-seen-anywhere/", "/oauth/token"):
            Caller().get(path)
    assert queries.captured_queries
    assert not any(WRITES.match(query["sql"]) for query in queries.captured_queries)
    assert Pairing.objects.count() == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/pairings/", 405),
        ("GET", "/api/v1/pairings/associate/", 405),
        ("GET", "/api/v1/pairings/a-television-of-mine/credentials/", 405),
        ("PUT", "/api/v1/devices/", 405),
        ("GET", "/api/v1/pairings/short/", 404),
        ("GET", "/api/v1/nowhere/", 404),
        ("GET", "/api/v1/devices", 404),
    ],
)
def test_defect_15_an_error_has_its_status_and_a_code(
    operator: Operator, method: str, path: str, status: int
):
    response = operator.send(method, path, None)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["code"]
