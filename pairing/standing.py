"""How many pairings stand, in one query: what their waiting devices may know."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from audit import clock
from pairing import models, user_code
from pairing.models import TIMED, Pairing, State


class Standing(NamedTuple):
    """One pairing as it stands now. Once `state` is no longer timed, `left_s` is 0."""

    id: UUID
    digest: str
    udid: str
    user_code: str
    version: int
    state: State
    #: Seconds until time alone changes the state.
    left_s: float
    approved_at: datetime | None = None


class _Row(NamedTuple):
    """Plain columns: thousands are read again and again, and objects of the model cost twice."""

    id: UUID
    device_code_digest: str
    udid: str
    user_code: str
    version: int
    state: str
    expires_at: datetime
    acknowledges_itself: bool
    approved_at: datetime | None


def of(digests: Iterable[str]) -> dict[str, Standing]:
    """By digest of their device_codes, those pairings that exist. One query."""
    now = clock.now()
    rows = Pairing.objects.filter(device_code_digest__in=list(digests))
    found = (_standing(_Row(*row), now) for row in rows.values_list(*_Row._fields))
    return {stands.digest: stands for stands in found}


def _standing(row: _Row, now: datetime) -> Standing:
    state = models.standing(row.state, row.expires_at, row.acknowledges_itself, now)
    left_s = (row.expires_at - now).total_seconds() if state in TIMED else 0.0
    code = user_code.display(row.user_code)
    return Standing(
        row.id,
        row.device_code_digest,
        row.udid,
        code,
        row.version,
        state,
        left_s,
        row.approved_at,
    )
