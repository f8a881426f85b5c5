"""A device signs itself out: its tokens are refused, its card and its UDID are free."""

from functools import partial

from django.db import transaction

from accounts import tokens
from accounts.models import TokenFamily
from accounts.snapshot import ClientEntry
from pairing.attempts import Outrun, attempt
from pairing.models import ACTIVE, Pairing, State
from pairing.refusal import Refusal


def by_token(token: str, client: ClientEntry) -> Refusal | None:
    """Revoke an access or refresh token of `client`, and all that were issued with it.

    Nothing happens to a token that is unknown, ended, or another client's (RFC 7009, 2.2). Refuses
    `contended`, which leaves the device signed in.
    """
    family = _family(token, client)
    outcome = attempt(partial(_revoke_once, family)) if family is not None else None
    return outcome if isinstance(outcome, Refusal) else None


def _family(token: str, client: ClientEntry) -> TokenFamily | None:
    claims = tokens.verify(token)
    families = TokenFamily.objects.filter(client_id=client.client_id)
    if claims is not None:
        families = families.filter(pk=claims.family, tenant_id=client.tenant_id)
    else:
        families = families.filter(refresh_tokens__digest=tokens.digest(token))
    return families.first()


def _revoke_once(family: TokenFamily) -> None:
    active = Pairing.objects.select_related("subscriber").filter(state__in=ACTIVE)
    pairing = active.filter(token_family=family.pk).first()
    actor = f"device:{family.device}"
    with transaction.atomic():
        if pairing is None:
            tokens.revoke_family(family.pk, reason="revoked by its client", actor=actor)
        elif not pairing.end(State.REVOKED, actor=actor, reason="signed out"):
            raise Outrun
