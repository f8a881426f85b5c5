"""Slots of the fleet for background work: few at once, and none while requests need them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache

from django.conf import settings

from ratelimit.leases import LEASE_S, REFRESHES, SlotLease, fleet_now, process_name
from ratelimit.store import Store, StoreAway
from stabilizer.background import fleet
from stabilizer.ops import shelf

logger = logging.getLogger(__name__)

#: The least pressure to which background work yields, on the gate's scale from 0 to 3.
YIELDS_AT = 1
Pressure = Callable[[Store], int]


class Refusal(StrEnum):
    """Why a task does not run now."""

    #: Requests wait for slots, or want all of them.
    PRESSURE = "pressure"
    #: Background work holds as many as it may, or the fleet has none to spare.
    SLOTS = "slots"
    #: Nobody can be asked.
    AWAY = "away"


class Budget:
    """One process's way to the slots of background work, one at a time.

    Without Redis there is none: requests go on with what they hold, and this work has time.
    """

    def __init__(
        self,
        store: Store,
        *,
        pressure: Pressure = fleet.pressure,
        lease_s: float = LEASE_S,
    ) -> None:
        """`pressure` tells how much is on the fleet, from 0 to 3; it may raise `StoreAway`."""
        #: The same for each of its leases: it is a label in the metrics.
        self.process = f"{fleet.BACKGROUND}{process_name()}"
        self._store = store
        self._pressure = pressure
        self._lease_s = lease_s
        self._in_use = 0
        self._alone = threading.Lock()
        self._yields = False

    @contextmanager
    def slot(self) -> Iterator[Refusal | None]:
        """Hold a slot for as long as the block runs; its value is why there is none, or None."""
        if not self._alone.acquire(blocking=False):
            yield Refusal.SLOTS
            return
        try:
            lease = self._lease()
            refusal = self._ask(lease)
            self._tell(refusal)
            if refusal is None:
                with self._held(lease):
                    yield None
            else:
                yield refusal
        finally:
            self._alone.release()

    def _lease(self) -> SlotLease:
        return SlotLease(
            self._store,
            settings.GATE_SLOTS,
            lambda: (self._in_use, 1, 0),
            idle=0,
            lease_s=self._lease_s,
            process=self.process,
        )

    def _ask(self, lease: SlotLease) -> Refusal | None:
        try:
            if self._pressure(self._store) >= YIELDS_AT:
                return Refusal.PRESSURE
            if _is_granted(lease) and not self._is_spent():
                return None
        except StoreAway:
            return Refusal.AWAY
        except Exception:
            # A task must not be lost for a question that could not be put.
            logger.exception("nobody can say whether there is a slot")
            return Refusal.AWAY
        lease.give_back_now()
        return Refusal.SLOTS

    def _is_spent(self) -> bool:
        # Whoever counts is on record already: two that come at once may both go, and never stay.
        return fleet.background_slots(fleet_now(self._store)) > settings.BACKGROUND_SLOTS

    @contextmanager
    def _held(self, lease: SlotLease) -> Iterator[None]:
        self._in_use = 1
        over = threading.Event()
        holder = threading.Thread(target=lease.hold_now, args=[over], name="slot-lease")
        holder.start()
        try:
            yield
        finally:
            self._in_use = 0
            over.set()
            lease.nudge()
            holder.join()

    def _tell(self, refusal: Refusal | None) -> None:
        """A line when it begins to yield and one when it goes on, not one for each task."""
        if self._yields != (refusal is not None):
            self._yields = refusal is not None
            logger.info("background work %s", f"yields: {refusal}" if refusal else "goes on")


def _is_granted(lease: SlotLease) -> bool:
    """Whether the fleet has a slot for it.

    After an outage nobody is given more than he has until leases were refreshed for as long as one
    lasts. Where no other process holds any, nobody else would do that: then this waits for it.
    """
    for _ in range(REFRESHES + 2):
        rest_s = lease.refresh_now()
        if lease.share or not lease.recovering_s or lease.processes > 1:
            break
        time.sleep(rest_s)
    return lease.share > 0


@cache
def shared() -> Budget:
    """This process's budget, by the dashboard's patient way to Redis: nobody waits for it."""
    return Budget(shelf.shared())


os.register_at_fork(after_in_child=shared.cache_clear)
