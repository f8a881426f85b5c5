"""The process that takes the host's records to the workers; one does, others stand by."""

import logging
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

from django.db import connections

from audit import shipping, spool
from audit.shipping import HandOver, Shipment

logger = logging.getLogger(__name__)

#: Between two rounds while there is nothing to do, and while there is.
IDLE_S, BUSY_S = 0.5, 0.05
#: Longest pause while the broker or the database is away.
LONGEST_PAUSE_S = 10.0
#: What was written to a spool is on the disk after so long, at the latest.
SYNC_S = 0.005


class Shipper:
    """Ships a directory of spools, round after round, and has the disk keep what is in them."""

    def __init__(self, directory: Path, hand_over: HandOver) -> None:
        self._directory = directory
        self._hand_over = hand_over
        self._failures = 0

    def round(self) -> Shipment:
        """One round. Raises what `shipping.ship` does."""
        return shipping.ship(self._directory, self._hand_over)

    def run(self, stopped: threading.Event) -> None:
        """Ship until `stopped` is set. A broker or database that is away is waited for."""
        syncer = threading.Thread(
            target=Syncer(self._directory).run, args=[stopped], name="spool-sync"
        )
        syncer.start()
        try:
            while not stopped.wait(self._pause_after_round()):
                pass
        finally:
            stopped.set()
            syncer.join()

    def _pause_after_round(self) -> float:
        try:
            shipment = self.round()
        except Exception as error:  # the broker's, the database's, the disk's: all of them pass
            return self._pause_after(error)
        if self._failures:
            logger.warning("audit: shipping again after %d rounds in vain", self._failures)
            self._failures = 0
        return BUSY_S if shipment.sent or shipment.freed else IDLE_S

    def _pause_after(self, error: Exception) -> float:
        self._failures += 1
        if self._failures == 1:
            logger.error("audit: records stay in the spool: %s: %s", type(error).__name__, error)
        # A connection that broke is made anew by the next round.
        connections.close_all()
        longest_s = min(LONGEST_PAUSE_S, IDLE_S * 2**self._failures)
        return random.uniform(IDLE_S, longest_s)  # noqa: S311  it only spreads the tries


class Syncer:
    """Forces to disk what processes have written to their spools: they need not wait for it.

    A power cut costs at most what was written in the last `SYNC_S`; the death of a process nothing.
    """

    def __init__(self, directory: Path, sync: Callable[[int], None] = os.fdatasync) -> None:
        self._directory = directory
        self._sync = sync
        self._synced_bytes: dict[str, int] = {}

    def run(self, stopped: threading.Event) -> None:
        while not stopped.wait(SYNC_S):
            try:
                self.sync_grown()
            except OSError as error:
                logger.error("audit: the spools cannot be forced to disk: %s", error)
                stopped.wait(1)

    def sync_grown(self) -> int:
        """Force the spools to disk that have grown since the last call; how many."""
        grown = {
            file.name: file.stat().st_size
            for file in os.scandir(self._directory)
            if file.name.endswith(spool.SUFFIX)
        }
        changed = [name for name, size in grown.items() if size != self._synced_bytes.get(name)]
        for name in changed:
            self._sync_file(self._directory / name)
        self._synced_bytes = grown
        return len(changed)

    def _sync_file(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # shipped and removed just now
            return
        try:
            self._sync(fd)
        finally:
            os.close(fd)
