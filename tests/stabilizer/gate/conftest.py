import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings

from accounts import keyring, keys, snapshot, tokens
from accounts.models import Client, Plan, Tenant
from audit.floods import Floods
from ratelimit.limiter import Limiter
from ratelimit.store import Store
from stabilizer.gate import policy
from stabilizer.gate.admission import Gate
from stabilizer.gate.control import Control
from tests.hand_clock import HandClock
from tests.stabilizer.gate.door import Door


class App:
    """A small application behind the gate: counts who is inside, and answers when told."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.inside = 0
        self.most_inside = 0
        self.status = 200
        self.error: Exception | None = None
        #: Requests stay inside until it is set.
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await self.open.wait()
            if self.error:
                raise self.error
            self.bodies.append(await _body(receive))
            await send({"type": "http.response.start", "status": self.status, "headers": []})
            await send({"type": "http.response.body", "body": b"served"})
        finally:
            self.inside -= 1


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


@pytest.fixture(autouse=True)
def policies_in_force() -> Iterator[policy.PolicyTable]:
    """The defaults; a test may `swap` them."""
    policy.table.swap(policy.DEFAULTS)
    snapshot.forget()
    yield policy.table
    policy.table.swap(policy.DEFAULTS)
    snapshot.forget()


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def store(redis_client: redis.Redis) -> Iterator[Store]:
    store = Store(settings.REDIS_URL)
    yield store
    store.close()


@pytest.fixture
def limiter(store: Store) -> Limiter:
    return Limiter(store)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def gates(limiter: Limiter) -> AsyncIterator[Callable[..., Awaitable[Gate]]]:
    """Makes started gates; `cap` and `threads` bound their slots."""
    made: list[Gate] = []

    async def make(app: Any, **options: Any) -> Gate:
        given = options.pop("limiter", limiter)
        # A Redis that knows no leases grants for 3 s only what a process has: as many as threads.
        defaults = {"configure": lambda: None, "threads": 16, "trail": Floods()}
        gate = Gate(app, Control(given, **{**defaults, **options}))
        made.append(gate)
        await gate.start()
        return gate

    yield make
    for gate in made:
        await gate.stop()


@pytest.fixture
async def gate(gates: Callable[..., Any], app: App) -> Gate:
    made: Gate = await gates(app)
    return made


@pytest.fixture
def door(gate: Gate) -> Door:
    return Door(gate)


@pytest.fixture
def tenant(db: None) -> Tenant:
    plan = Plan.objects.create(name="operator", per_minute=60_000)
    tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
    Client.objects.create(
        tenant=tenant, client_id="acme-tv", name="Acme's app", default_for_host="*"
    )
    return tenant


@pytest.fixture
def key(tenant: Tenant) -> str:
    """An API key of the tenant."""
    return keys.create(tenant, "back office", ["devices:read"])[1]


@pytest.fixture
def token(tenant: Tenant) -> str:
    """The access token of a device that has paired before."""
    keyring.ensure()
    snapshot.reload()
    return tokens.issue(tokens.start_family(tenant.pk, "S-1", "UDID-1")).access_token


@pytest.fixture
def known(tenant: Tenant, key: str, token: str) -> Tenant:
    """A tenant whose callers this process knows, as if it had read them at its start."""
    snapshot.reload()
    return tenant
