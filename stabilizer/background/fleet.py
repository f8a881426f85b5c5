"""What requests need, as the fleet's processes last told Redis: background work yields to it."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from ratelimit import leases, pressures
from ratelimit.leases import Demand
from ratelimit.store import Store
from stabilizer.ops import totals

#: The name of a lease for background work begins so; no name of a host has a slash.
BACKGROUND = "background/"
#: A process that has said nothing for so long has ended, and nobody waits in it.
FRESH_MS = 3_000
#: Of the slots, one in so many is kept for critical requests; background work is none.
TENTH = 10
CALM, PRESSED = 0, 1
Reports = Mapping[bytes | str, bytes | str]


def pressure(store: Store) -> int:
    """The fleet's level, at least `PRESSED` while requests wait or want all slots; `StoreAway`."""
    reports, found, (seconds, microseconds) = store.call(_read)
    now_ms = seconds * 1000 + microseconds // 1000
    words = totals.parsed(found).values()
    waiting = sum(word.said.get("waiting", 0) for word in words if now_ms - word.at_ms < FRESH_MS)
    wanted = sum(
        demand.wants
        for process, demand in leases.demands(reports).items()
        if not process.startswith(BACKGROUND)
    )
    open_to_all = settings.GATE_SLOTS - settings.GATE_SLOTS // TENTH
    here = PRESSED if waiting or wanted >= open_to_all else CALM
    return max(here, pressures.fleet_level(store))


def background_slots(demands: Mapping[str, Demand]) -> int:
    """The slots that background work holds."""
    return sum(demand.has for process, demand in demands.items() if process.startswith(BACKGROUND))


def _read(client: Any) -> tuple[Reports, Reports, tuple[int, int]]:
    pipeline = client.pipeline(transaction=False)
    pipeline.hgetall(leases.KEYS[1]).hgetall(totals.WORDS).time()
    reports, words, now = pipeline.execute()
    return reports, words, now
