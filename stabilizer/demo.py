"""Demo data: one tenant with everything a first pairing needs."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from django.contrib.auth.hashers import make_password
from django.db import transaction

import audit
from accounts import keyring, keys, snapshot
from accounts.models import ApiKey, Client, Plan, Scope, Tenant, User
from pairing import credentials
from pairing.models import Smartcard, Subscriber
from ratelimit import revision

ADMIN = "admin"
PERSON = "ana"
CLIENT = "demo-tv"
KEY_NAME = "demo"
ACTOR = "command:demo"
#: name: per minute, per hour, per day
PLANS = {"free": (60, 1_000, 10_000), "operator": (60_000, None, None)}
BATCH = 2_000

Row = TypeVar("Row", Subscriber, Smartcard)
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo consists of now. A password is None when it was set by an earlier run."""

    tenant: str
    client_id: str
    api_key: str
    api_key_is_new: bool
    admin_user: str
    person: str
    password: str | None
    subscribers_made: int
    smartcards_made: int


@transaction.atomic
def make(
    *,
    subscribers: int,
    cards: int,
    password: str | None = None,
    key_file: Path | None = None,
    advance: Advance = lambda rows: None,
) -> Demo:
    """Make what is missing of the demo and leave the rest alone.

    The API key in `key_file` is kept while it works; otherwise a new one is made, written there,
    and the older demo keys are revoked. `password` is given to the people `admin` and `ana`;
    without it people made now get a random one. `advance` hears how many rows were looked after.
    """
    keyring.ensure()
    tenant = _tenant()
    revision.bump()
    made = (
        _subscribers(tenant, subscribers, advance),
        _smartcards(tenant, subscribers, cards, advance),
    )
    if any(made):
        detail = {"subscribers_created": made[0], "smartcards_created": made[1]}
        audit.record_with_change(
            "subscribers.imported", actor=ACTOR, tenant=tenant.slug, detail=detail
        )
    api_key, is_new = _api_key(tenant, key_file)
    return Demo(
        tenant=tenant.slug,
        client_id=_client(tenant).client_id,
        api_key=api_key,
        api_key_is_new=is_new,
        admin_user=ADMIN,
        person=PERSON,
        password=_people(tenant, password),
        subscribers_made=made[0],
        smartcards_made=made[1],
    )


def subscriber_code(number: int) -> str:
    return f"S{number:06d}"


def smartcard_sn(number: int, card: int) -> str:
    return f"SC{number:06d}{card:04d}"


def _tenant() -> Tenant:
    for name, (per_minute, per_hour, per_day) in PLANS.items():
        quotas = {"per_minute": per_minute, "per_hour": per_hour, "per_day": per_day}
        plan, made = Plan.objects.get_or_create(name=name, defaults=quotas)
        if made:
            detail = {"name": name, **quotas}
            audit.record_with_change(
                "plan.changed", subject=f"plan:{plan.pk}", actor=ACTOR, detail=detail
            )
    operator = Plan.objects.get(name="operator")
    defaults = {"name": "Demo television", "plan": operator}
    tenant, made = Tenant.objects.get_or_create(slug="demo", defaults=defaults)
    if made:
        _record("tenant.changed", f"tenant:{tenant.pk}", tenant, tenant.name)
    return tenant


def _record(action: str, subject: str, tenant: Tenant, name: str) -> None:
    audit.record_with_change(
        action, subject=subject, actor=ACTOR, tenant=tenant.slug, detail={"name": name}
    )


def _client(tenant: Tenant) -> Client:
    has_default = Client.objects.filter(default_for_host=snapshot.ANY_HOST).exists()
    defaults = {
        "tenant": tenant,
        "name": "Demo TV app",
        "default_for_host": None if has_default else snapshot.ANY_HOST,
    }
    client, made = Client.objects.get_or_create(client_id=CLIENT, defaults=defaults)
    if made:
        _record("client.changed", f"client:{client.pk}", tenant, CLIENT)
    return client


def _subscribers(tenant: Tenant, count: int, advance: Advance) -> int:
    there = set(Subscriber.objects.filter(tenant=tenant).values_list("code", flat=True))
    wanted = ((number, subscriber_code(number)) for number in range(1, count + 1))
    missing = (
        Subscriber(
            tenant=tenant,
            code=code,
            name=f"Subscriber {number}",
            sealed_credentials=_credentials(tenant, code, number),
        )
        for number, code in wanted
        if code not in there
    )
    made = _insert(missing, advance)
    advance(count - made)
    return made


def _smartcards(tenant: Tenant, subscribers: int, cards: int, advance: Advance) -> int:
    owners = dict(Subscriber.objects.filter(tenant=tenant).values_list("code", "pk"))
    there = set(Smartcard.objects.filter(tenant=tenant).values_list("sn", flat=True))
    missing = (
        Smartcard(tenant=tenant, subscriber_id=owners[subscriber_code(number)], sn=sn)
        for number in range(1, subscribers + 1)
        for sn in (smartcard_sn(number, card) for card in range(1, cards + 1))
        if sn not in there
    )
    made = _insert(missing, advance)
    advance(subscribers * cards - made)
    return made


def _insert(rows: Iterator[Row], advance: Advance) -> int:
    made = 0
    while batch := list(islice(rows, BATCH)):
        type(batch[0])._default_manager.bulk_create(batch)
        made += len(batch)
        advance(len(batch))
    return made


def _credentials(tenant: Tenant, code: str, number: int) -> str:
    facts = {
        "login1": code.lower(),
        "password": secrets.token_urlsafe(9),
        "pin": f"{secrets.randbelow(10_000):04d}",
        "packages": ["basic", "sport"] if number % 2 else ["basic"],
    }
    return credentials.seal(tenant.pk, code, facts)


def _api_key(tenant: Tenant, file: Path | None) -> tuple[str, bool]:
    """A working key with every scope, and whether it was made just now."""
    kept = file.read_text().strip() if file is not None and file.exists() else ""
    entry = keys.verify(kept, snapshot.reload())
    if entry and entry.tenant_id == tenant.pk and entry.scopes >= set(Scope.values):
        return kept, False
    for old in ApiKey.objects.filter(tenant=tenant, name=KEY_NAME, revoked_at=None):
        keys.revoke(old, actor=ACTOR)
    _, text = keys.create(tenant, KEY_NAME, Scope.values, actor=ACTOR)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text + "\n")
    return text, True


def _people(tenant: Tenant, password: str | None) -> str | None:
    """Make the admin and the subscriber's person. Returns their password if it was set just now."""
    admin, admin_is_new = User.objects.get_or_create(
        username=ADMIN, defaults={"tenant": tenant, "is_staff": True, "is_superuser": True}
    )
    person, person_is_new = User.objects.get_or_create(username=PERSON, defaults={"tenant": tenant})
    _link(tenant, person)
    chosen = password or secrets.token_urlsafe(12)
    changed = [
        user
        for user, is_new in ((admin, admin_is_new), (person, person_is_new))
        if is_new or (password and not user.check_password(password))
    ]
    if changed:
        # Hashing is slow on purpose, and it is one password: once is enough.
        User.objects.filter(pk__in=[user.pk for user in changed]).update(
            password=make_password(chosen)
        )
    for user in changed:
        _record("person.changed", f"person:{user.pk}", tenant, user.username)
    return chosen if password or changed else None


def _link(tenant: Tenant, person: User) -> None:
    """Make the person the first subscriber's, unless it is some subscriber's already."""
    first = Subscriber.objects.filter(tenant=tenant, code=subscriber_code(1)).first()
    if first is None or Subscriber.objects.filter(user=person).exists():
        return
    first.user = person
    first.save(update_fields=["user"])
    _record("subscriber.changed", f"subscriber:{first.pk}", tenant, first.code)
