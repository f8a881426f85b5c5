"""Under pressure an answer is lighter, says so, and costs less: each beside the full one."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from accounts.models import Client, Tenant
from accounts.pagination import DEFAULT_SIZE, TRIMMED_SIZE
from audit import clock as steady_clock
from pairing import pending
from pairing.models import Pairing, Smartcard, State, Subscriber
from pairing.pending import Pending
from ratelimit import flags
from ratelimit.flags import Forced, Step
from tests.hand_clock import HandClock
from tests.pairing.conftest import HTTP, Device, Operator
from tests.pairing.test_oauth import authorize, exchange

pytestmark = pytest.mark.django_db
DEVICES, SUBSCRIBERS = "/api/v1/devices/", "/api/v1/subscribers/"
COUNT = 60


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has steps be taken, and all others not."""
    monkeypatch.setattr(flags, "_forced", {})

    def take(*steps: Step) -> None:
        forced = {step.name: Forced(True, float("inf")) for step in steps}
        monkeypatch.setattr(flags, "_forced", forced)

    return take


@pytest.fixture
def devices(operator: Operator, tenant: Tenant, tv: Client, subscriber: Subscriber) -> Operator:
    """The operator of a tenant with so many devices."""
    now = steady_clock.now()
    cards = [
        Smartcard.objects.create(tenant=tenant, subscriber=subscriber, sn=f"D-{number}")
        for number in range(COUNT)
    ]
    Pairing.objects.bulk_create(
        Pairing(
            tenant=tenant,
            client=tv,
            state=State.ACKNOWLEDGED,
            udid=f"living-room-tv-{number:04}",
            active_udid=f"living-room-tv-{number:04}",
            device_code_digest=f"digest-{number}",
            user_code=f"C{number:07}",
            subscriber=subscriber,
            smartcard=card,
            active_smartcard=card,
            approved_at=now,
            expires_at=now,
        )
        for number, card in enumerate(cards)
    )
    return operator


def read(act: Callable[[], HttpResponse]) -> tuple[HttpResponse, list[str]]:
    """The answer, and what was asked of the database for it."""
    with CaptureQueriesContext(connection) as queries:
        answer = act()
    return answer, [query["sql"] for query in queries.captured_queries]


def test_a_page_of_a_list_is_shorter_and_its_next_leads_through_all(
    devices: Operator, take: Callable[..., None]
):
    full, _ = read(lambda: devices.get(DEVICES))
    take(flags.LISTS_TRIMMED)
    short, (sql,) = read(lambda: devices.get(DEVICES))
    assert len(full.json()["results"]) == DEFAULT_SIZE
    assert len(short.json()["results"]) == TRIMMED_SIZE
    assert short["Degraded"] == "lists_trimmed"
    assert "Degraded" not in full
    assert f"LIMIT {TRIMMED_SIZE + 1}" in sql
    assert len(short.content) < len(full.content) / 2
    seen: list[str] = []
    answer: Any = short
    while True:
        seen += [device["udid"] for device in answer.json()["results"]]
        if not (following := answer.json()["next"]):
            break
        answer = HTTP.get(following, headers=devices._headers())
    assert seen == [f"living-room-tv-{number:04}" for number in range(COUNT)]


def test_who_asks_for_little_gets_it_whole(devices: Operator, take: Callable[..., None]):
    take(flags.LISTS_TRIMMED)
    answer = devices.get(DEVICES, limit="5")
    assert len(answer.json()["results"]) == 5
    assert "Degraded" not in answer


def test_the_last_page_is_not_called_short(devices: Operator, take: Callable[..., None]):
    take(flags.LISTS_TRIMMED)
    answer = devices.get(DEVICES, after="living-room-tv-0049")
    assert (len(answer.json()["results"]), answer.json()["next"]) == (10, None)
    assert "Degraded" not in answer


def test_a_list_without_what_is_in_other_tables_joins_none(
    devices: Operator, take: Callable[..., None]
):
    full, (joined,) = read(lambda: devices.get(DEVICES))
    take(flags.FIELDS_TRIMMED)
    bare, (alone,) = read(lambda: devices.get(DEVICES))
    assert joined.count("JOIN") == 2
    assert "JOIN" not in alone
    kept = [
        {name: value for name, value in device.items() if name not in ("subscriber_code", "sn")}
        for device in full.json()["results"]
    ]
    assert bare.json()["results"] == kept
    assert bare["Degraded"] == "fields_trimmed"
    assert len(bare.content) < len(full.content) * 0.9


def test_two_steps_are_named_in_one_header(devices: Operator, take: Callable[..., None]):
    take(flags.LISTS_TRIMMED, flags.FIELDS_TRIMMED)
    assert devices.get(DEVICES)["Degraded"] == "lists_trimmed, fields_trimmed"


def test_a_subscriber_sees_his_own_devices_alone_however_little_is_told(
    devices: Operator, tenant: Tenant, take: Callable[..., None]
):
    take(flags.FIELDS_TRIMMED)
    answer = devices.get(DEVICES, subscriber_code="S-2")
    assert answer.json()["results"] == []


@pytest.mark.parametrize("path", [DEVICES, SUBSCRIBERS])
def test_a_search_is_refused_without_a_query_and_the_list_itself_is_not(
    devices: Operator, take: Callable[..., None], path: str
):
    found, queries = read(lambda: devices.get(path, search="l"))
    assert (found.status_code, len(queries)) == (200, 1)
    take(flags.SEARCH_OFF)
    refused, queries = read(lambda: devices.get(path, search="l"))
    assert (refused.status_code, refused.json()["code"]) == (503, "search_unavailable")
    assert int(refused["Retry-After"]) == refused.json()["retry_after"] >= 1
    assert queries == []
    assert devices.get(path).status_code == 200


# Polls.


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def heard(hand: HandClock, monkeypatch: pytest.MonkeyPatch) -> Pending:
    """What this process knows, while it hears of every change."""
    known = Pending(hand)
    known.alive(hand())
    monkeypatch.setattr(pending, "shared", known)
    return known


@pytest.fixture
def at_leisure(redis_client: redis.Redis) -> Callable[[], None]:
    """Lets the interval between two polls pass."""

    def wait() -> None:
        for key in redis_client.keys("poll:*"):
            redis_client.delete(key)

    return wait


def polled(device: Device, wait: Callable[[], None]) -> tuple[Any, int]:
    wait()
    answer, queries = read(device.status)
    return answer.json(), len(queries)


def exchanged(told: dict[str, Any], wait: Callable[[], None]) -> tuple[Any, int]:
    wait()
    answer, queries = read(lambda: exchange(told["device_code"]))
    return answer.json(), len(queries)


def test_a_poll_that_waits_still_costs_no_query_and_says_the_same(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    device = Device.create()
    full, queries = polled(device, at_leisure)
    assert queries == 1
    take(flags.POLLS_COPIED)
    copied, queries = polled(device, at_leisure)
    assert queries == 0
    assert 0 <= full.pop("expires_in") - copied.pop("expires_in") <= 1
    assert copied == full


def test_the_grant_of_oauth_that_waits_still_costs_no_query(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    told = authorize()
    take(flags.POLLS_COPIED)
    assert exchanged(told, at_leisure) == ({"error": "authorization_pending"}, 1)
    assert exchanged(told, at_leisure) == ({"error": "authorization_pending"}, 0)


def test_calm_polls_ask_the_database(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    device = Device.create()
    assert [polled(device, at_leisure)[1] for _ in range(3)] == [1, 1, 1]


def test_those_who_wait_are_confirmed_by_one_query_for_all(
    operator: Operator,
    heard: Pending,
    hand: HandClock,
    take: Callable[..., None],
    at_leisure: Callable[[], None],
):
    take(flags.POLLS_COPIED)
    devices = [Device.create() for _ in range(3)]
    for device in devices:
        polled(device, at_leisure)
    Pairing.objects.filter(udid=devices[0].udid).update(state=State.DENIED, version=2)
    for device in devices:
        polled(device, at_leisure)
    with CaptureQueriesContext(connection) as queries:
        pending.check()
    assert len(queries) == 1
    hand.advance(pending.FRESH_S / 2)
    heard.alive(hand())
    told = [polled(device, at_leisure) for device in devices]
    assert [(answer["status"], queries) for answer, queries in told] == [
        ("denied", 1),
        ("pending", 0),
        ("pending", 0),
    ]


@pytest.mark.django_db(transaction=True)
def test_an_approval_of_this_process_is_seen_by_the_next_poll(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    take(flags.POLLS_COPIED)
    device, told = Device.create(), authorize()
    for _ in range(2):
        polled(device, at_leisure)
        exchanged(told, at_leisure)
    operator.approve(device)
    operator.associate(user_code=told["user_code"], subscriber_code="S-1")
    assert polled(device, at_leisure)[0]["status"] == "approved"
    assert "access_token" in exchanged(told, at_leisure)[0]


def test_a_change_heard_from_elsewhere_has_the_database_asked(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    take(flags.POLLS_COPIED)
    device = Device.create()
    polled(device, at_leisure)
    heard.changed(device.row.pk, device.row.version + 1)
    assert polled(device, at_leisure)[1] == 1


def test_another_pairings_udid_finds_nothing_in_the_copy(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    take(flags.POLLS_COPIED)
    device = Device.create()
    polled(device, at_leisure)
    at_leisure()
    answer = device.get("/api/v1/pairings/somebody-elses-tv/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_who_does_not_hear_changes_asks_the_database(
    operator: Operator,
    heard: Pending,
    hand: HandClock,
    take: Callable[..., None],
    at_leisure: Callable[[], None],
):
    take(flags.POLLS_COPIED)
    device = Device.create()
    polled(device, at_leisure)
    hand.advance(pending.FRESH_S)
    assert polled(device, at_leisure)[1] == 0
    hand.advance(0.01)
    assert polled(device, at_leisure)[1] == 1


def test_a_pairing_that_has_expired_is_not_said_to_wait(
    operator: Operator,
    heard: Pending,
    clock: Any,
    take: Callable[..., None],
    at_leisure: Callable[[], None],
):
    take(flags.POLLS_COPIED)
    device = Device.create()
    polled(device, at_leisure)
    clock.advance(601)
    assert polled(device, at_leisure)[0]["code"] == "expired"


@pytest.mark.django_db(transaction=True)
def test_a_renewed_code_is_the_one_that_is_told(
    operator: Operator, heard: Pending, take: Callable[..., None], at_leisure: Callable[[], None]
):
    take(flags.POLLS_COPIED)
    device = Device.create()
    polled(device, at_leisure)
    renewed = device.renew().json()["user_code"]
    assert [polled(device, at_leisure)[0]["user_code"] for _ in range(2)] == [renewed] * 2
