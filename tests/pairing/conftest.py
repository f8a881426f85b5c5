"""A tenant with subscribers and cards, devices that pair, and somebody who approves them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from django.conf import settings
from django.http import HttpResponse
from django.test import Client as Http

from accounts import keys, snapshot
from accounts.models import Client, Plan, Scope, Tenant, User
from audit import entry, floods
from audit.floods import Floods
from audit.models import Outbox
from pairing import codes, credentials, device_code
from pairing.models import Pairing, Smartcard, Subscriber
from ratelimit import limiter, store

SECRETS = {"login1": "anna", "password": "s3cret", "pin": "0000", "packages": ["sports"]}


@pytest.fixture(autouse=True)
def fresh(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rows of tests come and go without a revision, and one test's refusals are not the next's.

    A store that is slow because the machine is busy is the subject of other tests.
    """
    patient = store.Store(settings.REDIS_URL, timeout_s=5.0)
    monkeypatch.setattr(store, "_shared", patient)
    limiter._forget()
    monkeypatch.setattr(codes, "_gap", codes._Gap())
    monkeypatch.setattr(floods, "_shared", Floods())
    snapshot.forget()
    yield
    snapshot.forget()
    patient.close()


#: Shared by all who bring no cookies: each client loads the middleware anew.
HTTP = Http()


def browser(person: User | None = None, **headers: str) -> Http:
    """A client with cookies of its own, in which `person` is logged in."""
    http = Http(**headers)
    http.handler = HTTP.handler
    if person is not None:
        http.force_login(person)
    return http


@dataclass
class Caller:
    """One who calls the API: a key, a token, a device code, or nobody."""

    bearer: str = ""
    address: str = "198.51.100.7"
    http: Http = HTTP

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.send("POST", path, {} if body is None else body, **headers)

    def get(self, path: str, **query: str) -> HttpResponse:
        return self.http.get(path, query, headers=self._headers(), REMOTE_ADDR=self.address)

    def send(self, method: str, path: str, body: Any, **headers: str) -> HttpResponse:
        send = getattr(self.http, method.lower())
        return send(
            path,
            body,
            content_type="application/json",
            headers={**self._headers(), **headers},
            REMOTE_ADDR=self.address,
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}


@dataclass
class Device(Caller):
    """A device with a pairing of its own."""

    udid: str = ""
    user_code: str = ""
    created: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, address: str = "203.0.113.9", **facts: Any) -> "Device":
        response = Caller(address=address).post(
            "/api/v1/pairings/", {"app_type": "android_tv", **facts}
        )
        assert response.status_code == 201, response.content
        told = response.json()
        return cls(told["device_code"], address, HTTP, told["udid"], told["user_code"], told)

    @property
    def path(self) -> str:
        return f"/api/v1/pairings/{self.udid}/"

    @property
    def row(self) -> Pairing:
        code = device_code.parse(self.bearer)
        assert code is not None
        return Pairing.objects.get(device_code_digest=code.digest)

    def status(self) -> HttpResponse:
        return self.get(self.path)

    def collect(self) -> HttpResponse:
        return self.post(f"{self.path}credentials/")

    def acknowledge(self) -> HttpResponse:
        return self.post(f"{self.path}ack/")

    def renew(self) -> HttpResponse:
        return self.post(f"{self.path}renew/")


@dataclass
class Operator(Caller):
    """A caller who may approve."""

    def approve(self, device: Device, subscriber_code: str = "S-1", **more: str) -> HttpResponse:
        return self.associate(user_code=device.user_code, subscriber_code=subscriber_code, **more)

    def associate(self, **body: Any) -> HttpResponse:
        return self.post("/api/v1/pairings/associate/", body)

    def deny(self, user_code: str) -> HttpResponse:
        return self.post("/api/v1/pairings/deny/", {"user_code": user_code})

    def revoke(self, udid: str, **body: Any) -> HttpResponse:
        return self.post(f"/api/v1/devices/{udid}/revoke/", body)


@pytest.fixture
def tenant(db: None) -> Tenant:
    plan = Plan.objects.create(name="operator", per_minute=60_000)
    return Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)


@pytest.fixture
def tv(tenant: Tenant) -> Client:
    return Client.objects.create(
        tenant=tenant, client_id="acme-tv", name="Acme's app", default_for_host="*"
    )


@pytest.fixture
def other_tenant(tenant: Tenant) -> Tenant:
    other = Tenant.objects.create(slug="globex", name="Globex", plan=tenant.plan)
    Client.objects.create(tenant=other, client_id="globex-tv", name="Globex's app")
    return other


@pytest.fixture
def subscriber(tenant: Tenant) -> Subscriber:
    return subscribe(tenant, "S-1", "C-1", "C-2")


def subscribe(tenant: Tenant, code: str, *cards: str) -> Subscriber:
    sealed = credentials.seal(tenant.pk, code, SECRETS)
    subscriber = Subscriber.objects.create(tenant=tenant, code=code, sealed_credentials=sealed)
    for sn in cards:
        Smartcard.objects.create(tenant=tenant, subscriber=subscriber, sn=sn)
    return subscriber


@pytest.fixture
def operator(tenant: Tenant, tv: Client, subscriber: Subscriber) -> Operator:
    return Operator(key_of(tenant, *Scope.values))


@pytest.fixture
def foreigner(other_tenant: Tenant) -> Operator:
    """The operator of another tenant, who may do everything there."""
    subscribe(other_tenant, "S-1", "C-9")
    return Operator(key_of(other_tenant, *Scope.values))


def key_of(tenant: Tenant, *scopes: str) -> str:
    _, text = keys.create(tenant, "back office", scopes)
    Outbox.objects.all().delete()
    snapshot.reload()
    return text


@pytest.fixture
def person(tenant: Tenant, subscriber: Subscriber) -> User:
    """The person behind subscriber S-1."""
    user = User.objects.create_user("anna", password="x", tenant=tenant)
    subscriber.user = user
    subscriber.save()
    return user


@pytest.fixture
def changes(db: None) -> Callable[[], list[str]]:
    """The actions recorded with their changes since the last call."""

    def taken() -> list[str]:
        rows = list(Outbox.objects.order_by("id"))
        Outbox.objects.all().delete()
        return [entry.decode(row.entry)["action"] for row in rows]

    return taken


@pytest.fixture
def store_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Redis refuses connections: nothing listens on the port."""
    away = store.Store("redis://127.0.0.1:1/0", timeout_s=0.05)
    monkeypatch.setattr(store, "_shared", away)
    yield
    away.close()
