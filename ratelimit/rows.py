"""Rows of the database kept in Redis, where a value that was forgotten is never put back.

Who misses a row takes a lease of it and fills it under that lease; forgetting ends the lease too,
so what was read before a change is not stored after it (Nishtala et al., Scaling Memcache at
Facebook, NSDI 2013, 3.2.1). Which rows were forgotten is a bounded list, for all processes.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from ratelimit.scripts import Script, text
from ratelimit.store import Store

_LUA = Path(__file__).parent / "lua"
_READ, _FILL = Script(_LUA / "row_read.lua"), Script(_LUA / "row_fill.lua")
_FORGET, _CHANGED = Script(_LUA / "rows_forget.lua"), Script(_LUA / "rows_changed.lua")
_USED = Script(_LUA / "rows_used.lua")
_PREFIX = "row:{-}:"
_LIST = "rows:{-}:changes"
#: Longer than a query may take; who takes longer fills nothing.
LEASE_MS = 3_000
#: Rows whose last change is on the list; who has missed more drops everything.
CHANGES_KEPT = 2_000
#: Of the list, and of the keys used last.
LIVES_S = 86_400
#: What one script call forgets, lest Redis be busy with it for longer than a millisecond.
AT_ONCE = 500
USED_KEPT = 1_000
_ANOTHERS = "?"


class Found(NamedTuple):
    """What is known of a row: its JSON, or whether its lease is ours now."""

    json: str | None
    leased: bool


class Seen(NamedTuple):
    """How far somebody has followed the changes."""

    era: str
    number: int


class Changes(NamedTuple):
    """The rows that were forgotten until `seen`; None when nobody knows which."""

    seen: Seen
    rows: list[str] | None


class Rows:
    """The rows in one Redis, by `kind:key`. Every call raises `StoreAway`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, row: str, token: str) -> Found:
        """The row's value, or a lease of it by `token`, which nobody has used before."""
        answer = self.store.run(_READ, [_PREFIX + row, _LIST], [token, LEASE_MS])
        if answer is None:
            return Found(None, leased=True)
        json = text(answer)
        return Found(None if json == _ANOTHERS else json, leased=False)

    def fill(self, row: str, token: str, json: str, ttl_s: float) -> bool:
        """Store what was read under the lease; False if the lease is over."""
        words: list[str | int] = [token, json, max(1, round(ttl_s * 1000))]
        return bool(self.store.run(_FILL, [_PREFIX + row, _LIST], words))

    def forget(self, rows: Sequence[str]) -> None:
        """Have these read from the database again, by everybody."""
        for first in range(0, len(rows), AT_ONCE):
            keys = [_PREFIX + row for row in rows[first : first + AT_ONCE]]
            self._forget(keys)

    def forget_all(self) -> None:
        """Have all rows read from the database again, by everybody."""
        self._forget([])

    def changes(self, since: Seen) -> Changes:
        """What was forgotten since then."""
        era, number, *rows = self.store.run(_CHANGED, [_LIST], list(since))
        seen = Seen(text(era), number)
        if not rows:
            return Changes(seen, None)
        return Changes(seen, [text(row).removeprefix(_PREFIX) for row in rows[0]])

    def note_used(self, kind: str, keys: Sequence[str]) -> None:
        """Remember that these were used now, for processes that start."""
        self.store.run(_USED, [_used(kind)], [USED_KEPT, LIVES_S, *keys])

    def used(self, kind: str, count: int) -> list[str]:
        """The keys of that kind that were used last, the very last ones first."""
        found = self.store.call(lambda client: client.zrevrange(_used(kind), 0, count - 1))
        return [text(cast(bytes, key)) for key in found]

    def _forget(self, keys: Sequence[str]) -> None:
        words: list[str | int] = [secrets.token_hex(8), CHANGES_KEPT, LIVES_S]
        self.store.run(_FORGET, [_LIST, *keys], words)


def _used(kind: str) -> str:
    return f"rows:{{-}}:used:{kind}"
