"""The dashboard's own way to Redis, whose troubles are nobody else's.

Were it to ask by the limits' store, a moment in which Redis is slow would be felt by more calls at
once, and the limits would take Redis for away sooner.
"""

import os

from django.conf import settings

from ratelimit.store import Store

#: Nobody waits for the dashboard; when Redis hangs, this much later it says so.
TIMEOUT_S = 0.5

_shared: Store | None = None


def shared() -> Store:
    """This process's store for what the dashboard keeps, at `settings.REDIS_URL`."""
    global _shared
    if _shared is None:
        _shared = Store(settings.REDIS_URL, timeout_s=TIMEOUT_S)
    return _shared


def forget() -> None:
    """Open connections anew: after a fork, or for another Redis."""
    global _shared
    _shared = None


os.register_at_fork(after_in_child=forget)
