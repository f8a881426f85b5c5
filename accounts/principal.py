"""Who is calling: one answer for keys, tokens and people, made from the snapshot alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from django.http import HttpRequest
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from accounts import keys, snapshot, tokens
from accounts.models import Scope
from accounts.snapshot import PlanEntry, Snapshot

if TYPE_CHECKING:
    from accounts.models import User

BEARER = "bearer "
Kind = Literal["key", "token", "person"]
OPERATOR_PERMISSION = "pairing.approve"
ALL_SCOPES = frozenset(Scope.values)
ADMISSION = "stabilizer.admission"


@dataclass(frozen=True, slots=True)
class Principal:
    """An identified caller. `subscriber_code` says that it acts for that subscriber only."""

    kind: Kind
    id: str
    tenant_id: int
    tenant: str
    plan: PlanEntry
    scopes: frozenset[str]
    subscriber_code: str | None = None
    #: For tokens: the UDID and the family, so that the first use can acknowledge a delivery.
    device: str | None = None
    family: str | None = None
    expires_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class Admission(Protocol):
    """What the gate leaves in the ASGI scope of a request it let in."""

    @property
    def principal(self) -> Principal | None: ...
    @property
    def quotas(self) -> Any: ...


def identify(authorization: str, known: Snapshot | None = None) -> Principal | None:
    """The caller of an Authorization header, or None. No query."""
    known = known or snapshot.current()
    text = bearer(authorization)
    if text.startswith(keys.SCHEME):
        return _of_key(text, known)
    return _of_token(text, known) if text.count(".") == 2 else None


def bearer(authorization: str) -> str:
    """The token of ``Bearer <token>``, else an empty string."""
    if authorization[: len(BEARER)].lower() != BEARER:
        return ""
    return authorization[len(BEARER) :].strip()


def of_person(user: "User") -> Principal | None:
    """A logged-in person of a tenant: an operator has all scopes, a subscriber acts for himself."""
    tenant = snapshot.current().tenants.get(user.tenant_id or 0)
    if tenant is None or not user.is_active:
        return None
    operator = user.has_perm(OPERATOR_PERMISSION)
    # Pairing hangs the subscriber on the user; a user without one is nobody's subscriber.
    subscriber = None if operator else getattr(user, "subscriber", None)
    return Principal(
        kind="person",
        id=str(user.pk),
        tenant_id=tenant.id,
        tenant=tenant.slug,
        plan=tenant.plan,
        scopes=ALL_SCOPES if operator else frozenset(),
        subscriber_code=subscriber.code if subscriber else None,
    )


def of(request: Request) -> Principal:
    """The caller of a request that a permission of `accounts.permissions` has let in."""
    caller = request.auth
    if not isinstance(caller, Principal):
        raise NotAuthenticated
    return caller


def admission(request: HttpRequest) -> Admission | None:
    """What the gate decided about this request; None where no gate stands before Django."""
    found: Admission | None = getattr(request, "scope", request.META).get(ADMISSION)
    return found


def _of_key(text: str, known: Snapshot) -> Principal | None:
    key = keys.verify(text, known)
    if key is None:
        return None
    return Principal(
        kind="key",
        id=key.prefix,
        tenant_id=key.tenant_id,
        tenant=key.tenant_slug,
        plan=key.plan,
        scopes=key.scopes,
        expires_at=key.expires_at,
    )


def _of_token(text: str, known: Snapshot) -> Principal | None:
    claims = tokens.verify(text, known)
    if claims is None:
        return None
    tenant = known.tenants[claims.tenant_id]
    return Principal(
        kind="token",
        id=claims.token_id,
        tenant_id=tenant.id,
        tenant=tenant.slug,
        plan=tenant.plan,
        scopes=claims.scopes,
        subscriber_code=claims.subject,
        device=claims.device,
        family=str(claims.family),
        expires_at=claims.expires_at,
    )
