"""The first use of a token acknowledges its delivery, at one query per sign-in and process."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from rest_framework.exceptions import AuthenticationFailed

from accounts.principal import Principal
from accounts.snapshot import ACCESS_TOKEN_LIFE
from audit import clock
from pairing import delivery
from pairing.lifetimes import REDELIVERY_S

#: An older token's delivery was acknowledged, or has been ended by a sweep.
_YOUNG = timedelta(seconds=REDELIVERY_S + 60)
_KEPT = 10_000
_seen: set[str] = set()


def acknowledge(sender: Any, *, principal: Principal, **_: Any) -> None:
    """Receives `accounts.signals.token_used`; refuses a token whose delivery has expired."""
    family = principal.family
    if family is None or family in _seen or not _is_young(principal):
        return
    if not delivery.acknowledge_use(UUID(family)):
        raise AuthenticationFailed("the delivery of this token was not acknowledged in time")
    if len(_seen) >= _KEPT:
        _seen.clear()
    _seen.add(family)


def _is_young(principal: Principal) -> bool:
    issued_at = principal.expires_at - ACCESS_TOKEN_LIFE if principal.expires_at else clock.now()
    return clock.now() - issued_at < _YOUNG
