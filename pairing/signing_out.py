"""A device signs itself out: its tokens are refused, its card and its UDID are free."""

from functools import partial
from uuid import UUID

from django.db import transaction

from accounts import tokens
from accounts.models import RefreshToken
from accounts.snapshot import ClientEntry
from pairing.attempts import Outrun, attempt
from pairing.models import ACTIVE, Pairing, State


def by_token(token: str, client: ClientEntry) -> None:
    """Revoke an access or refresh token of `client`, and all that were issued with it.

    Nothing happens to a token that is unknown, ended, or another client's (RFC 7009, 2.2).
    """
    family = _family(token, client)
    if family is not None:
        attempt(partial(_revoke_once, family))


def _family(token: str, client: ClientEntry) -> UUID | None:
    claims = tokens.verify(token)
    if claims is not None:
        return claims.family if claims.tenant_id == client.tenant_id else None
    row = RefreshToken.objects.select_related("family").filter(digest=tokens.digest(token)).first()
    if row is None or row.family.client_id != client.client_id:
        return None
    return row.family_id


def _revoke_once(family: UUID) -> None:
    pairing = Pairing.objects.filter(token_family=family, state__in=ACTIVE).first()
    with transaction.atomic():
        if pairing is None:
            tokens.revoke_family(family, reason="revoked by its client")
        elif not pairing.end(State.REVOKED, actor=f"device:{pairing.udid}", reason="signed out"):
            raise Outrun
