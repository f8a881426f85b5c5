"""How many pairings stand, in one query: what their waiting devices may know."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from audit import clock
from pairing import user_code
from pairing.models import TIMED, Pairing, State

_READ = ("id", "device_code_digest", "udid", "user_code", "version", "state", "expires_at")


@dataclass(frozen=True, slots=True)
class Standing:
    """One pairing as it stands now. Once `state` is no longer timed, `left_s` is 0."""

    id: UUID
    digest: str
    udid: str
    user_code: str
    version: int
    state: State
    #: Seconds until time alone changes the state.
    left_s: float


def of(digests: Iterable[str]) -> dict[str, Standing]:
    """By digest of their device_codes, those pairings that exist. One query."""
    now = clock.now()
    found = Pairing.objects.only(*_READ, "acknowledges_itself").filter(
        device_code_digest__in=list(digests)
    )
    return {pairing.device_code_digest: _standing(pairing, now) for pairing in found}


def _standing(pairing: Pairing, now: datetime) -> Standing:
    state = pairing.standing(now)
    left_s = (pairing.expires_at - now).total_seconds() if state in TIMED else 0.0
    return Standing(
        pairing.id,
        pairing.device_code_digest,
        pairing.udid,
        user_code.display(pairing.user_code),
        pairing.version,
        state,
        left_s,
    )
