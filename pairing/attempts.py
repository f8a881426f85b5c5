"""Acts that race: looked at afresh when somebody else was faster, within reason."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, OperationalError

from pairing.refusal import Refusal

T = TypeVar("T")

TRIES = 5
#: How often a transaction that MariaDB rolled back is repeated, by the error. A deadlock (1213) is
#: found at once; a lock wait time-out (1205) has held the caller for two seconds already.
_RETRIES = {1213: 3, 1205: 1}
_PAUSE_S = 0.01


class Outrun(Exception):
    """Raised inside a transaction that lost a race, so that all of it is rolled back."""


def attempt(act: Callable[[], T | Refusal]) -> T | Refusal:
    """What `act` returns; called again when it was outrun.

    That is by a conditional UPDATE that met a changed row, by a unique column, or by a deadlock
    resolved against it. `act` reads before it opens its transaction, so the next call sees why.
    Refuses as `contended` after the last one; raises the database's error when its retries are
    used up.
    """
    rolled_back = 0
    for _ in range(TRIES):
        try:
            return act()
        except (Outrun, IntegrityError):
            continue
        except OperationalError as error:
            rolled_back += 1
            if rolled_back > retries(error):
                raise
            time.sleep(random.uniform(0, _PAUSE_S * 2**rolled_back))  # noqa: S311 - jitter, no secret
    return Refusal("contended", retry_after_s=1)


def retries(error: OperationalError) -> int:
    """How often a transaction that failed so may be repeated; 0 for a database that is away."""
    return _RETRIES.get(error.args[0], 0) if error.args else 0
