"""The requests of a fleet, as one of its processes tells Redis of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from ratelimit.leases import LEASE_S, SlotLease
from ratelimit.store import Store


class Crowd:
    """Wants as many slots as it is told to, and uses all that it is given."""

    def __init__(self, store: Store, *, lease_s: float = LEASE_S) -> None:
        self.wants = 8
        self.lease = SlotLease(store, settings.GATE_SLOTS, self._demand, idle=0, lease_s=lease_s)

    def want(self, slots: int) -> None:
        self.wants = slots
        self.lease.nudge()

    def press(self) -> None:
        """All slots of the fleet are wanted."""
        self.want(settings.GATE_SLOTS)

    def calm_down(self) -> None:
        self.want(8)

    def _demand(self) -> tuple[int, int, int]:
        return self.lease.share, self.wants, 0


@contextmanager
def crowd(store: Store, *, lease_s: float = LEASE_S) -> Iterator[Crowd]:
    """A crowd that holds its lease while the block runs."""
    crowd = Crowd(store, lease_s=lease_s)
    over = threading.Event()
    holder = threading.Thread(target=crowd.lease.hold_now, args=[over])
    holder.start()
    try:
        yield crowd
    finally:
        over.set()
        crowd.lease.nudge()
        holder.join()
