"""Acts that race: looked at afresh when somebody else was faster, within reason."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, OperationalError

from pairing.refusal import Refusal

T = TypeVar("T")

TRIES = 5
#: MariaDB's deadlock and lock wait time-out: the transaction is rolled back and may be repeated.
_REPEATABLE = (1213, 1205)
_PAUSE_S = 0.01


class Outrun(Exception):
    """Raised inside a transaction that lost a race, so that all of it is rolled back."""


def attempt(act: Callable[[], T | Refusal]) -> T | Refusal:
    """What `act` returns; called again when it was outrun.

    That is by a conditional UPDATE that met a changed row, by a unique column, or by a deadlock
    resolved against it. `act` reads before it opens its transaction, so the next call sees why.
    Refuses as `contended` after the last one.
    """
    for tries in range(1, TRIES + 1):
        try:
            return act()
        except (Outrun, IntegrityError):
            continue
        except OperationalError as error:
            if tries == TRIES or not error.args or error.args[0] not in _REPEATABLE:
                raise
            time.sleep(random.uniform(0, _PAUSE_S * 2**tries))  # noqa: S311 - jitter, no secret
    return Refusal("contended", retry_after_s=1)
