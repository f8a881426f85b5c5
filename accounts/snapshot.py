"""What every process knows of its callers, read once and again whenever the configuration changes.

Identifying a caller costs no query: keys, tenants, plans, clients, revoked tokens and the opened
keyring are one immutable object, replaced as a whole.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import connection
from django.db.models import Q
from joserfc.jwk import OKPKey

from accounts import sealing
from accounts.models import ApiKey, Client, KeyringKey, Plan, Tenant, TokenFamily
from audit import clock

logger = logging.getLogger(__name__)

ACCESS_TOKEN_LIFE = timedelta(hours=1)
#: A token may be signed by a refresh that read its family just before it was revoked.
REVOCATION_MARGIN = timedelta(minutes=5)
#: A revocation may be committed this long after the time that it carries.
COMMIT_MARGIN = timedelta(seconds=30)
KEYS_KEPT = 100_000
REVOKED_FAMILIES_KEPT = 50_000
ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class PlanEntry:
    name: str
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None

    def quotas(self) -> list[tuple[str, int, int]]:
        """Its limits as (name, quantity, window in seconds); an empty quota is none."""
        windows = (
            ("tenant", self.per_minute, 60),
            ("tenant-hour", self.per_hour, 3600),
            ("tenant-day", self.per_day, 86_400),
        )
        return [(name, quantity, window) for name, quantity, window in windows if quantity]


@dataclass(frozen=True, slots=True)
class TenantEntry:
    id: int
    slug: str
    name: str
    plan: PlanEntry


@dataclass(frozen=True, slots=True)
class ClientEntry:
    id: int
    client_id: str
    name: str
    tenant_id: int
    tenant_slug: str


@dataclass(frozen=True, slots=True)
class KeyEntry:
    id: int
    prefix: str
    digest: str
    tenant_id: int
    tenant_slug: str
    plan: PlanEntry
    scopes: frozenset[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent answer to "who is this?". Never changed, only replaced."""

    keys: Mapping[str, KeyEntry]
    tenants: Mapping[int, TenantEntry]
    plans: Mapping[str, PlanEntry]
    clients: Mapping[str, ClientEntry]
    default_clients: Mapping[str, ClientEntry]
    revoked_families: frozenset[UUID]
    #: Tokens issued earlier are refused, whatever their family: more families were revoked within
    #: a token's life than are kept here. Their devices refresh and go on.
    tokens_valid_from: datetime | None
    keyring: sealing.Keyring

    def default_client(self, host: str) -> ClientEntry | None:
        """The client of a device that did not name one; `host` may carry a port."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return self.default_clients.get(name.lower()) or self.default_clients.get(ANY_HOST)


_current: Snapshot | None = None
_reloading = threading.Lock()


def current() -> Snapshot:
    """This process's snapshot. The first call reads the database: event loops `reload` before."""
    return _current or reload()


def reload() -> Snapshot:
    """Read all again and make it current. One thread at a time: the last read is the newest."""
    global _current
    with _reloading:
        fresh = _read()
        _current = fresh
    return fresh


def follow_revocations() -> None:
    """Add the families that were revoked lately. Cheap enough to be asked twice a second.

    They come too often, by the thousand when a subscriber base is moved, for each to announce
    itself in the one revision row that everybody would wait for.
    """
    global _current
    known = current()
    since = clock.now() - COMMIT_MARGIN
    recent = TokenFamily.objects.filter(revoked_at__gt=since).values_list("pk", flat=True)
    revoked = known.revoked_families.union(recent)
    if len(revoked) == len(known.revoked_families):
        return
    if len(revoked) >= REVOKED_FAMILIES_KEPT:
        reload()
    else:
        with _reloading:
            if _current is known:
                _current = replace(known, revoked_families=revoked)


def forget() -> None:
    """Make the next `current` read the database: for tests, whose rows come and go unannounced."""
    global _current
    _current = None


def _read() -> Snapshot:
    if not connection.in_atomic_block:
        # A thread outside requests has nobody else to replace a connection that broke.
        connection.close_if_unusable_or_obsolete()
    plans = {plan.pk: _plan_entry(plan) for plan in Plan.objects.all()}
    tenants = {tenant.pk: _tenant_entry(tenant, plans) for tenant in Tenant.objects.all()}
    clients = list(Client.objects.filter(active=True))
    entries = {client.client_id: _client_entry(client, tenants) for client in clients}
    revoked, valid_from = _revoked_families()
    return Snapshot(
        keys=MappingProxyType(_keys(tenants)),
        tenants=MappingProxyType(tenants),
        plans=MappingProxyType({plan.name: plan for plan in plans.values()}),
        clients=MappingProxyType(entries),
        default_clients=MappingProxyType(_by_host(clients, entries)),
        revoked_families=revoked,
        tokens_valid_from=valid_from,
        keyring=_keyring(KeyringKey.objects.order_by("created_at", "pk")),
    )


def _plan_entry(plan: Plan) -> PlanEntry:
    return PlanEntry(plan.name, plan.per_minute, plan.per_hour, plan.per_day)


def _tenant_entry(tenant: Tenant, plans: Mapping[int, PlanEntry]) -> TenantEntry:
    return TenantEntry(tenant.pk, tenant.slug, tenant.name, plans[tenant.plan_id])


def _client_entry(client: Client, tenants: Mapping[int, TenantEntry]) -> ClientEntry:
    tenant = tenants[client.tenant_id]
    return ClientEntry(client.pk, client.client_id, client.name, tenant.id, tenant.slug)


def _by_host(
    clients: Iterable[Client], entries: Mapping[str, ClientEntry]
) -> dict[str, ClientEntry]:
    return {
        client.default_for_host.lower(): entries[client.client_id]
        for client in clients
        if client.default_for_host
    }


def _keys(tenants: Mapping[int, TenantEntry]) -> dict[str, KeyEntry]:
    now = clock.now()
    usable = ApiKey.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None
    ).order_by("-pk")[: KEYS_KEPT + 1]
    entries = {key.prefix: _key_entry(key, tenants[key.tenant_id]) for key in usable}
    if len(entries) > KEYS_KEPT:
        logger.error("more than %d API keys are in use: the oldest are refused", KEYS_KEPT)
        entries.popitem()
    return entries


def _key_entry(key: ApiKey, tenant: TenantEntry) -> KeyEntry:
    return KeyEntry(
        id=key.pk,
        prefix=key.prefix,
        digest=key.digest,
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        plan=tenant.plan,
        scopes=frozenset(key.scopes),
        expires_at=key.expires_at,
    )


def _revoked_families() -> tuple[frozenset[UUID], datetime | None]:
    since = clock.now() - ACCESS_TOKEN_LIFE - REVOCATION_MARGIN
    rows = list(
        TokenFamily.objects.filter(revoked_at__gt=since)
        .order_by("-revoked_at")
        .values_list("pk", "revoked_at")[:REVOKED_FAMILIES_KEPT]
    )
    cut_off = rows[-1][1] if len(rows) == REVOKED_FAMILIES_KEPT else None
    return frozenset(pk for pk, _ in rows), cut_off


def _keyring(rows: Iterable[KeyringKey]) -> sealing.Keyring:
    ciphers: dict[str, AESGCM] = {}
    verifiers: dict[str, OKPKey] = {}
    sealing_kid = signer = None
    for row in rows:
        if row.state == KeyringKey.State.COMPROMISED:
            continue
        secret = sealing.unwrap(bytes(row.sealed), row.kid)
        active = row.state == KeyringKey.State.ACTIVE
        if row.purpose == KeyringKey.Purpose.CREDENTIALS:
            ciphers[row.kid] = AESGCM(secret)
            sealing_kid = row.kid if active else sealing_kid
        else:
            key = OKPKey.import_key(secret, {"kid": row.kid})
            verifiers[row.kid] = key
            signer = key if active else signer
    return sealing.Keyring(ciphers, verifiers, sealing_kid, signer)
