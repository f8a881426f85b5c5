"""Subscribers are read from what is kept, and every change of theirs is seen."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from accounts.models import Tenant, User
from pairing import locking, rows, serializers
from pairing.models import Smartcard, Subscriber
from ratelimit import cache
from ratelimit import follower as following
from ratelimit.cache import Cache
from ratelimit.follower import LOOK_EVERY_S, Follower
from ratelimit.store import Store
from tests.hand_clock import HandClock
from tests.pairing.conftest import HTTP, Device, Operator, browser, subscribe
from tests.pairing.test_oauth import FORM

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/subscribers/S-1/"


@pytest.fixture(autouse=True)
def patient(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine busy with tests must not send Redis away; it is told when a test says so."""
    monkeypatch.setattr(cache, "TIMEOUT_S", 5)
    monkeypatch.setattr(following, "GATHER_S", 600)
    cache.reset()
    yield
    cache.reset()


class Elsewhere:
    """What another process reads of subscribers."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.follower = Follower(lambda: Store(settings.REDIS_URL, timeout_s=5), self.clock)
        options: dict[str, Any] = {"ttl_s": rows.TTL_S, "follower": self.follower}
        self.subscribers: Cache[Any] = Cache("subscriber", rows._read, key_of=rows._key, **options)

    def read(self, subscriber: Subscriber) -> Any:
        return self.subscribers.get(f"{subscriber.tenant_id}:{subscriber.code}")

    def a_second_later(self, subscriber: Subscriber) -> dict[str, Any]:
        cache.settle()
        self.clock.advance(LOOK_EVERY_S)
        return self.read(subscriber)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    other = Elsewhere()
    yield other
    other.follower.reset()


def stored(subscriber: Subscriber) -> dict[str, Any]:
    """What GET has to say, from the database."""
    row = Subscriber.objects.get(pk=subscriber.pk)
    return dict(serializers.WholeSubscriberSerializer(row).data)


def test_a_subscriber_is_read_once_and_then_costs_no_query(
    operator: Operator, subscriber: Subscriber, django_assert_num_queries
):
    with django_assert_num_queries(2):
        first = operator.get(PATH)
    with django_assert_num_queries(0):
        again = operator.get(PATH)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert again.json() == stored(subscriber)
    assert again["Cache-Control"] == "no-store"


def test_what_there_is_not_costs_one_query_each_time(operator: Operator, django_assert_num_queries):
    for _ in range(2):
        with django_assert_num_queries(1):
            assert operator.get("/api/v1/subscribers/S-404/").status_code == 404


def test_another_tenants_subscriber_of_the_same_code_is_another(
    operator: Operator, foreigner: Operator
):
    for _ in range(2):
        assert [card["sn"] for card in operator.get(PATH).json()["smartcards"]] == ["C-1", "C-2"]
        assert [card["sn"] for card in foreigner.get(PATH).json()["smartcards"]] == ["C-9"]


def test_a_code_in_other_capitals_finds_what_it_found_and_is_not_kept(
    operator: Operator, tenant: Tenant, subscriber: Subscriber
):
    if connection.vendor != "mysql":
        pytest.skip("SQLite tells capitals apart")
    lower = "/api/v1/subscribers/s-1/"
    assert operator.get(lower).json()["code"] == "S-1"
    operator.send("PUT", PATH, {"name": "Zoe"})
    assert operator.get(lower).json()["name"] == "Zoe"


def put(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    operator.send("PUT", PATH, {"name": "Zoe", "state": "locked"})


def put_cards(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    operator.send("PUT", PATH, {"smartcards": ["C-2", "C-3"]})


def put_secrets(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    operator.send("PUT", PATH, {"credentials": {}})


def approve(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    assert operator.approve(device).status_code == 200


def lock(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    locking.lock([subscriber], actor="test")


def import_file(operator: Operator, device: Device, subscriber: Subscriber, tmp_path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("subscriber_code,name,sn\nS-1,Zoe,C-7\n")
    call_command("import_subscribers", str(file), tenant="acme", json=True)


def move_card(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    card = Smartcard.objects.get(sn="C-1")
    card.subscriber = subscribe(subscriber.tenant, "S-2")
    card.save()


def remove_card(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    Smartcard.objects.get(sn="C-1").delete()


def edit_in_the_admin(operator: Operator, device: Device, subscriber: Subscriber) -> None:
    person = User.objects.create_superuser("root", password="x")
    path = reverse("admin:pairing_subscriber_change", args=[subscriber.pk])
    empty = {f"smartcards-{name}_FORMS": 0 for name in ("TOTAL", "INITIAL")}
    page = browser(person).post(path, {"name": "Zoe", "user": "", **empty})
    assert page.status_code == 302, page.content


CHANGES = (
    put,
    put_cards,
    put_secrets,
    approve,
    lock,
    import_file,
    move_card,
    remove_card,
    edit_in_the_admin,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_is_seen_at_once_here_and_then_elsewhere(
    operator: Operator,
    subscriber: Subscriber,
    elsewhere: Elsewhere,
    change: Callable[..., None],
    tmp_path,
    capsys,
):
    device = Device.create()
    before = operator.get(PATH).json()
    kept = elsewhere.read(subscriber)
    more = {"tmp_path": tmp_path} if change is import_file else {}
    change(operator, device, subscriber, **more)
    after = stored(subscriber)
    assert after != before
    assert operator.get(PATH).json() == after
    assert elsewhere.read(subscriber) == kept
    told = elsewhere.a_second_later(subscriber)
    assert {name: told[name] for name in after} == after


@pytest.mark.parametrize("end", ["revoke", "revoke all", "sign out", "replace", "sweep"])
def test_a_card_that_is_free_again_is_seen_to_be(
    operator: Operator, subscriber: Subscriber, elsewhere: Elsewhere, end: str, clock
):
    device = Device.create()
    operator.approve(device, sn="C-1")
    assert elsewhere.read(subscriber)["smartcards"][0]["udid"] == device.udid
    assert operator.get(PATH).json()["smartcards"][0]["udid"] == device.udid
    if end == "revoke":
        operator.revoke(device.udid)
    elif end == "revoke all":
        operator.post(f"{PATH}devices/revoke/")
    elif end == "sign out":
        token = device.collect().json()["access_token"]
        form, kind = urlencode({"token": token, "client_id": "acme-tv"}), FORM
        assert HTTP.post("/oauth/revoke", form, content_type=kind).status_code == 200
    elif end == "replace":
        clock.advance(3600)
        operator.approve(Device.create(), sn="C-1")
    else:
        from pairing import tasks

        clock.advance(3600)
        assert tasks.sweep() == 1
    after = stored(subscriber)
    assert after["smartcards"][0]["udid"] != device.udid
    assert operator.get(PATH).json() == after
    assert elsewhere.a_second_later(subscriber)["smartcards"] == after["smartcards"]


def test_who_was_locked_a_moment_ago_is_refused_whatever_is_kept(
    operator: Operator, subscriber: Subscriber
):
    device, early = Device.create(), Device.create()
    operator.approve(early, sn="C-1")
    assert operator.get(PATH).json()["state"] == "active"
    # As if another process had done it, and this one had not heard yet.
    Subscriber.objects.filter(pk=subscriber.pk).update(state="locked")
    assert operator.get(PATH).json()["state"] == "active"
    refused = operator.approve(device)
    assert (refused.status_code, refused.json()["code"]) == (409, "subscriber_locked")
    assert early.collect().json()["code"] == "access_denied"


def test_a_change_that_is_refused_forgets_nothing(
    operator: Operator, django_assert_num_queries, tenant: Tenant
):
    subscribe(tenant, "S-2", "C-8")
    before = operator.get(PATH).content
    assert operator.send("PUT", PATH, {"smartcards": ["C-8"]}).status_code == 409
    with django_assert_num_queries(0):
        assert operator.get(PATH).content == before


def test_many_threads_that_read_and_one_that_writes_agree_at_the_end(
    operator: Operator, subscriber: Subscriber, elsewhere: Elsewhere
):
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                rows.subscriber(subscriber.tenant_id, "S-1")
                elsewhere.read(subscriber)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for number in range(30):
        operator.send("PUT", PATH, {"name": f"Name {number}"})
        assert operator.get(PATH).json()["name"] == f"Name {number}"
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert elsewhere.a_second_later(subscriber)["name"] == "Name 29"
    assert operator.get(PATH).json()["name"] == "Name 29"


def test_no_credentials_are_kept_in_redis(operator: Operator, redis_client):
    operator.get(PATH)
    kept = [redis_client.get(key) for key in redis_client.keys("row:*")]
    assert len(kept) == 1
    sealed = Subscriber.objects.get(code="S-1").sealed_credentials.encode()
    assert not any(sealed[:40] in each for each in kept)


def test_a_caller_without_the_scope_reads_nothing_that_is_kept(operator: Operator, person: User):
    operator.get(PATH)
    person.user_permissions.add(Permission.objects.get(codename="approve"))
    assert Operator().get(PATH).status_code == 401
