"""Tokens of signed-in devices: access tokens that need no look-up, refresh tokens used once.

An access token is a JWT (RFC 9068) signed with EdDSA by the keyring. A refresh token is 256 random
bits, stored as a digest; each belongs to the family of one sign-in (RFC 9700, 4.14).
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwa import EdDSAAlgorithm
from joserfc.jwk import OKPKey
from uuid_utils.compat import uuid7

import audit
from accounts import keyring
from accounts import snapshot as snapshots
from accounts.models import RefreshToken, Tenant, TokenFamily
from accounts.snapshot import ACCESS_TOKEN_LIFE, Snapshot
from audit import clock, statements
from audit.prepared import Prepared, given

REFRESH_TOKEN_LIFE = timedelta(days=30)
ALGORITHM = "EdDSA"
TYPE = "at+jwt"
REFRESH_SCHEME = "rt_"
LONGEST_TOKEN = 4096


class _EdDSA(EdDSAAlgorithm):
    # RFC 9864 renames it Ed25519, which verifiers do not know yet; the curve is fixed by our keys.
    security_warning = ""


class _Algorithms(jws.JWSRegistry):
    algorithms = {ALGORITHM: _EdDSA()}


_algorithms = _Algorithms(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class Tokens:
    access_token: str
    refresh_token: str
    expires_in: int
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a refresh was refused: an error code of RFC 6749, 5.2."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified access token."""

    subject: str
    tenant_id: int
    device: str
    family: UUID
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    token_id: str


_BY_ID = Prepared(
    lambda: TokenFamily.objects.select_related("tenant").filter(pk=given(0, TokenFamily, "id"))
)


def start_family(
    tenant: Tenant | int,
    subject: str,
    device: str,
    scopes: Collection[str] = (),
    *,
    client_id: str = "",
) -> TokenFamily:
    """Begin the tokens of one sign-in: `subject` is the subscriber's code, `device` the UDID."""
    family = TokenFamily(
        tenant_id=tenant if isinstance(tenant, int) else tenant.pk,
        subject=subject,
        device=device,
        client_id=client_id,
        scopes=sorted(scopes),
    )
    statements.insert(family, postponed=True)
    return family


def issue(family: TokenFamily, scopes: Collection[str] | None = None) -> Tokens:
    """An access token and a refresh token of `family`; `scopes` replace the ones it began with."""
    if scopes is not None and sorted(scopes) != family.scopes:
        family.scopes = sorted(scopes)
        family.save(update_fields=["scopes"])
    text = REFRESH_SCHEME + secrets.token_urlsafe(32)
    now = clock.now()
    token = RefreshToken(family=family, digest=digest(text), expires_at=now + REFRESH_TOKEN_LIFE)
    statements.insert(token, postponed=True)
    return Tokens(
        access_token=_sign(family, now),
        refresh_token=text,
        expires_in=int(ACCESS_TOKEN_LIFE.total_seconds()),
        scope=" ".join(family.scopes),
    )


def refresh(
    refresh_token: str, client_id: str = "", *, began: datetime | None = None
) -> Tokens | Refusal:
    """Exchange a refresh token for new tokens. Of two parallel exchanges one wins.

    A token that comes back after its use was copied: its whole family is revoked. One whose request
    arrived (`began`) before the use is merely the slower of two parallel requests.
    """
    began = began or clock.now()
    row = (
        RefreshToken.objects.select_related("family__tenant")
        .filter(digest=digest(refresh_token))
        .first()
    )
    refusal = _refusal(row, client_id)
    if refusal or row is None:
        return refusal or UNKNOWN
    if row.used_at is None:
        with transaction.atomic():
            tokens = issue(row.family) if _use(row) else None
        if tokens is not None:
            audit.record("token.refreshed", **_about(row.family))
            return tokens
    elif row.used_at < began:
        about = _about(row.family)
        revoke_family(
            row.family_id,
            reason="refresh token reused",
            actor=about["actor"],
            tenant=about["tenant"],
        )
    return USED


UNKNOWN = Refusal("invalid_grant", "the refresh token is unknown, expired or revoked")
USED = Refusal("invalid_grant", "the refresh token was used already")


def _refusal(row: RefreshToken | None, client_id: str) -> Refusal | None:
    if row is None or row.family.revoked_at or row.expires_at <= clock.now():
        return UNKNOWN
    return UNKNOWN if row.family.client_id != client_id else None


def _use(row: RefreshToken) -> bool:
    unused = RefreshToken.objects.filter(pk=row.pk, used_at=None)
    return bool(unused.update(used_at=clock.now()))


def revoke_family(family_id: UUID, *, reason: str = "", actor: str = "", tenant: str = "") -> bool:
    """Refuse every token of a family. False when it was revoked already.

    Other processes find it at their next look (`snapshot.follow_revocations`). Who knows the
    tenant's slug saves the look for it.
    """
    with transaction.atomic(savepoint=False):
        unrevoked = {"id": family_id, "revoked_at": None}
        won = statements.update(TokenFamily, unrevoked, {"revoked_at": clock.now()})
        if won:
            audit.record_with_change(
                "token.revoked",
                subject=f"family:{family_id}",
                tenant=tenant or _BY_ID.rows(family_id)[0].tenant.slug,
                actor=actor,
                detail={"reason": reason},
            )
    return bool(won)


def revoke(refresh_token: str, client_id: str = "") -> bool:
    """RFC 7009 for a refresh token: its whole family. False when there was nothing to revoke."""
    row = RefreshToken.objects.select_related("family").filter(digest=digest(refresh_token)).first()
    if row is None or row.family.client_id != client_id:
        return False
    actor = f"device:{row.family.device}"
    return revoke_family(row.family_id, reason="revoked by its client", actor=actor)


def verify(access_token: str, snapshot: Snapshot | None = None) -> Claims | None:
    """The claims of a genuine, current, unrevoked access token. No query, never raises."""
    known = snapshot or snapshots.current()
    if len(access_token) > LONGEST_TOKEN:
        return None
    try:
        token = jwt.decode(access_token, _verifier(known), registry=_algorithms)
        claims = _claims(token.claims)
    except (JoseError, LookupError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    return (
        claims if token.header.get("typ") == TYPE and _holds(claims, token.claims, known) else None
    )


def digest(refresh_token: str) -> str:
    """What is stored of a refresh token. 256 random bits need no salt."""
    return hashlib.sha256(refresh_token.encode("utf-8", "replace")).hexdigest()


def _verifier(known: Snapshot) -> Callable[[Any], OKPKey]:
    return lambda token: known.keyring.verifiers[token.headers()["kid"]]


def _claims(claims: Mapping[str, Any]) -> Claims:
    return Claims(
        subject=_text(claims["sub"]),
        tenant_id=claims["tid"],
        device=_text(claims["dev"]),
        family=UUID(claims["fam"]),
        scopes=frozenset(claims["scope"].split()),
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        token_id=_text(claims["jti"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a claim is no text")
    return value


def _holds(claims: Claims, raw: Mapping[str, Any], known: Snapshot) -> bool:
    cut_off = known.tokens_valid_from
    return (
        raw.get("iss") == settings.PUBLIC_URL
        and claims.expires_at > clock.now()
        and claims.family not in known.revoked_families
        and (cut_off is None or claims.issued_at >= cut_off)
        and claims.tenant_id in known.tenants
    )


def _sign(family: TokenFamily, now: datetime) -> str:
    key = keyring.signer()
    claims = {
        "iss": settings.PUBLIC_URL,
        "sub": family.subject,
        "tid": family.tenant_id,
        "dev": family.device,
        "fam": str(family.pk),
        "scope": " ".join(family.scopes),
        "iat": int(now.timestamp()),
        "exp": int((now + ACCESS_TOKEN_LIFE).timestamp()),
        "jti": str(uuid7()),
    }
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
    return jwt.encode(header, claims, key, registry=_algorithms)


def _about(family: TokenFamily) -> dict[str, Any]:
    return {
        "subject": f"family:{family.pk}",
        "tenant": family.tenant.slug,
        "actor": f"device:{family.device}",
    }
