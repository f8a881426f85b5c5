"""API keys: ``stb_<prefix>_<secret>``. The prefix finds one, its HMAC proves it."""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import datetime

from django.conf import settings
from django.db import transaction

import audit
from accounts.models import ApiKey, Tenant
from accounts.snapshot import KeyEntry, Snapshot
from audit import clock
from ratelimit import revision

SCHEME = "stb_"
PREFIX_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
PREFIX_LENGTH = 10


def create(
    tenant: Tenant,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    *,
    actor: str = "",
) -> tuple[ApiKey, str]:
    """Make a key and return it with its text, which nobody can ask for again."""
    prefix = "".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
    text = f"{SCHEME}{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        tenant=tenant,
        name=name,
        prefix=prefix,
        digest=digest(text),
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    with transaction.atomic():
        key.save(force_insert=True)
        _record("key.created", key, actor)
        revision.bump()
    return key, text


def revoke(key: ApiKey, *, actor: str = "") -> bool:
    """Refuse `key` from now on. False when it was revoked already."""
    with transaction.atomic():
        won = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=clock.now())
        if won:
            _record("key.revoked", key, actor)
            revision.bump()
    return bool(won)


def verify(text: str, snapshot: Snapshot) -> KeyEntry | None:
    """The key that `text` is, unless it is unknown, expired or revoked. No query, constant time."""
    entry = snapshot.keys.get(text.removeprefix(SCHEME).partition("_")[0])
    if entry is None or not hmac.compare_digest(digest(text), entry.digest):
        return None
    expired = entry.expires_at is not None and entry.expires_at <= clock.now()
    return None if expired else entry


def digest(text: str) -> str:
    """HMAC-SHA256 of a key under API_KEY_PEPPER: a stolen table alone verifies nothing."""
    return hmac.new(
        settings.API_KEY_PEPPER.encode(), text.encode("utf-8", "replace"), hashlib.sha256
    ).hexdigest()


def _record(action: str, key: ApiKey, actor: str) -> None:
    audit.record_with_change(
        action,
        subject=f"key:{key.prefix}",
        actor=actor,
        tenant=key.tenant.slug,
        detail={"name": key.name, "scopes": list(key.scopes)},
    )
