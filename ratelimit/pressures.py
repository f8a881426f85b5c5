"""How hard pressed the fleet is: what each process found of itself, for who serves no requests.

A process decides about its own requests by its own level. Background work knows of no queue; it
asks for the highest level of all processes, because it is in the way of each of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratelimit import store as stores
from ratelimit.scripts import Script, text
from ratelimit.store import Store

PRESSURE = Script(Path(__file__).parent / "lua" / "pressure.lua")
KEY = "rl:{-}:pressure"
#: What a process said lapses after so long; it says it again three times meanwhile.
LIVES_MS = 3_000
TELL_EVERY_S = 1.0


def fleet_level(store: Store | None = None) -> int:
    """The highest level, 0 to 3, of any process that serves; 0 where none does.

    For threads and workers; raises `StoreAway`.
    """
    found = (store or stores.shared()).run(PRESSURE, [KEY], ["", 0, LIVES_MS])
    return max(_levels(found).values(), default=0)


async def levels(store: Store) -> dict[str, int]:
    """The level of each process that serves, by its name; raises `StoreAway`."""
    return _levels(await store.run_async(PRESSURE, [KEY], ["", 0, LIVES_MS]))


async def tell(store: Store, process: str, level: int) -> dict[str, int]:
    """Say that `process` is at `level` for the next `LIVES_MS`; the levels of all. `StoreAway`."""
    return _levels(await store.run_async(PRESSURE, [KEY], [process, level, LIVES_MS]))


def tell_now(store: Store, process: str, level: int) -> dict[str, int]:
    """`tell` for threads."""
    return _levels(store.run(PRESSURE, [KEY], [process, level, LIVES_MS]))


def _levels(answer: Sequence[Any]) -> dict[str, int]:
    pairs = zip(answer[::2], answer[1::2], strict=True)
    return {text(process): int(level) for process, level in pairs}
