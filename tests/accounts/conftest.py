"""A tenant with a plan, a public client, a key and people; a second tenant apart from it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client as Browser

from accounts import keys, snapshot
from accounts.models import ApiKey, Client, Plan, Tenant, User
from audit import entry
from audit.models import Outbox

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def fresh_snapshot() -> Iterator[None]:
    """Rows of tests come and go without a revision."""
    snapshot.forget()
    yield
    snapshot.forget()


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Hashing slowly is Django's business, not ours to test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def plan(db: None) -> Plan:
    return Plan.objects.create(name="operator", per_minute=60_000)


@pytest.fixture
def tenant(plan: Plan) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)


@pytest.fixture
def other_tenant(plan: Plan) -> Tenant:
    return Tenant.objects.create(slug="globex", name="Globex", plan=plan)


@pytest.fixture
def tv(tenant: Tenant) -> Client:
    return Client.objects.create(
        tenant=tenant, client_id="acme-tv", name="Acme's app", default_for_host="tv.acme.example"
    )


@pytest.fixture
def key(tenant: Tenant) -> tuple[ApiKey, str]:
    return keys.create(tenant, "back office", ["devices:read"])


@pytest.fixture
def admin_user(plan: Plan) -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def admin(admin_user: User) -> Browser:
    """A browser in which the superuser is logged in."""
    browser = Browser()
    browser.force_login(admin_user)
    return browser


@pytest.fixture
def changes(db: None) -> Callable[[], list[str]]:
    """The actions recorded with their changes since the last call."""

    def taken() -> list[str]:
        rows = list(Outbox.objects.order_by("id"))
        Outbox.objects.all().delete()
        return [entry.decode(row.entry)["action"] for row in rows]

    return taken
