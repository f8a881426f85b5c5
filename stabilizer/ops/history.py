"""The rows of the last ten minutes by the second, and of a day by ten seconds, in Redis."""

from typing import Any

from ratelimit.scripts import text
from ratelimit.store import Store

SECONDS, TENS, NOW = "ops:{-}:seconds", "ops:{-}:tens", "ops:{-}:now"
SECONDS_KEPT, TENS_KEPT = 600, 8640
SECONDS_LIVE_S, TENS_LIVE_S = 1_800, 90_000
#: What is known now is no news after so long: nobody collects.
NOW_LIVES_MS = 3_000
#: Rows in one call; a longer one would look like a slow store.
BATCH = 200


async def keep(store: Store, document: str, second: str, ten: str | None) -> None:
    """Keep what is known now and a row; raises `StoreAway`."""

    async def act(client: Any) -> None:
        pipeline = client.pipeline(transaction=False)
        pipeline.set(NOW, document, px=NOW_LIVES_MS)
        _push(pipeline, SECONDS, second, SECONDS_KEPT, SECONDS_LIVE_S)
        if ten is not None:
            _push(pipeline, TENS, ten, TENS_KEPT, TENS_LIVE_S)
        await pipeline.execute()

    await store.call_async(act)


def _push(pipeline: Any, key: str, row: str, kept: int, lives_s: int) -> None:
    pipeline.rpush(key, row)
    pipeline.ltrim(key, -kept, -1)
    pipeline.expire(key, lives_s)


async def now(store: Store) -> str | None:
    """What is known now, as JSON; None where nobody has collected it. Raises `StoreAway`."""
    found = await store.call_async(lambda client: client.get(NOW))
    return None if found is None else text(found)


def rows(store: Store, key: str) -> list[str]:
    """The rows that are kept, each as JSON, oldest first; for threads. Raises `StoreAway`."""
    found: list[str] = []
    size = int(store.call(lambda client: client.llen(key)))
    for first in range(0, size, BATCH):
        last = first + BATCH - 1
        batch: Any = store.call(lambda client, a=first, b=last: client.lrange(key, a, b))  # type: ignore[misc]
        found += map(text, batch)
    return found
