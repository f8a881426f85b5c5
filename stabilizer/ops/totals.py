"""What all processes have counted together, in Redis: it never falls when a process ends."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ratelimit.scripts import Script, text
from ratelimit.store import Store
from stabilizer.gate.observer import BOUNDS, Counts, Key

LUA = Path(__file__).parent / "lua"
REPORT, READ = Script(LUA / "report.lua"), Script(LUA / "totals.lua")
TOTALS, WORDS, COLLECTOR = KEYS = ("ops:{-}:totals", "ops:{-}:words", "ops:{-}:collector")
SEPARATOR = "|"
#: A process that has said nothing for so long is forgotten.
FORGET_MS = 600_000
#: After the last report; `report.lua` has the same.
LIVE_S = 604_800


class Word(NamedTuple):
    """What a process last said of itself, and when, in ms of Redis's clock."""

    at_ms: int
    said: dict[str, Any]


class Receipt(NamedTuple):
    """What Redis answers a report with."""

    collects: bool
    now_ms: int


async def report(
    store: Store, process: str, batch: int, word: Mapping[str, Any], counts: Counts
) -> Receipt:
    """Add `counts` to the totals, once for each number of a `batch`; raises `StoreAway`."""
    lines = "\n".join(f"{encode(key)} {number}" for key, number in counts.items())
    words: list[str | int] = [process, batch, json.dumps(word), lines]
    collects, now_ms = await store.run_async(REPORT, KEYS, words)
    return Receipt(bool(collects), now_ms)


def add_now(store: Store, counts: Counts) -> None:
    """Add `counts` to the totals at once, for threads of a process that makes no reports.

    Raises `StoreAway`; if it was asked, they may be in the totals.
    """

    def act(client: Any) -> None:
        pipeline = client.pipeline(transaction=False)
        for key, number in counts.items():
            pipeline.hincrby(TOTALS, encode(key), number)
        pipeline.expire(TOTALS, LIVE_S)
        pipeline.execute()

    store.call(act)


async def read(store: Store) -> Counts:
    """The totals; raises `StoreAway`."""
    parts = text(await store.run_async(READ, KEYS[:1], ())).split("\n")
    return {decode(field): int(n) for field, n in zip(parts[::2], parts[1::2], strict=False)}


async def words(store: Store, now_ms: int) -> dict[str, Word]:
    """What each process last said; the long silent are forgotten. Raises `StoreAway`."""
    said = parsed(await store.call_async(lambda client: client.hgetall(WORDS)))
    silent = [process for process, word in said.items() if now_ms - word.at_ms > FORGET_MS]
    if silent:
        await store.call_async(lambda client: client.hdel(WORDS, *silent))
    return {process: word for process, word in said.items() if process not in silent}


def parsed(found: Mapping[bytes | str, bytes | str]) -> dict[str, Word]:
    """What is kept at `WORDS`, by the process that said it."""
    return {text(process): _word(text(word)) for process, word in found.items()}


def _word(report: str) -> Word:
    _, at_ms, said = report.split(" ", 2)
    return Word(int(at_ms), json.loads(said))


def encode(key: Key) -> str:
    return SEPARATOR.join(map(str, key))


@lru_cache(maxsize=10_000)
def decode(field: str) -> Key:
    """The key of a field; a bucket's number is a number again."""
    return tuple(int(part) if part.isdecimal() else part for part in field.split(SEPARATOR))


def since(totals: Counts, before: Counts) -> Counts:
    """What was counted between two readings; totals that fell began anew with an empty Redis."""
    found = {}
    for key, total in totals.items():
        last = before.get(key, 0)
        if total != last:
            found[key] = total - last if total > last else total
    return found


def added(*counts: Counts) -> Counts:
    """The sum of several counts: histograms and counters merge alike."""
    merged: Counts = {}
    for each in counts:
        for key, number in each.items():
            merged[key] = merged.get(key, 0) + number
    return merged


def buckets(counts: Counts, *prefix: str) -> dict[int, int]:
    """The histogram below a key: how many are in each bucket that is not empty."""
    size = len(prefix)
    return {
        int(key[size]): number
        for key, number in counts.items()
        if len(key) == size + 1 and key[:size] == prefix
    }


def quantile(histogram: Mapping[int, int], part: float) -> float | None:
    """The seconds that `part` of them stay below, within a bucket by straight line; None of none.

    As Prometheus' `histogram_quantile` does it. What is above the last bound is said to be at it.
    """
    wanted, seen = sum(histogram.values()) * part, 0.0
    for bucket in sorted(histogram):
        number = histogram[bucket]
        if number and seen + number >= wanted:
            if bucket >= len(BOUNDS):
                return BOUNDS[-1]
            low = BOUNDS[bucket - 1] if bucket else 0.0
            return low + (BOUNDS[bucket] - low) * (wanted - seen) / number
        seen += number
    return None
