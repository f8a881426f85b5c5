"""Values that this process keeps: those used last, each for its time."""

import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")


class Entry(NamedTuple, Generic[V]):
    """A value, when its reading began, and until when it is good."""

    value: V
    read_at: float
    until: float


class Lru(Generic[V]):
    """At most `size` values; the one used least lately goes first. Its owner locks it."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[str, Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> Entry[V] | None:
        """The entry, which is the one used last now; None of one that is missing or over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry

    def keep(self, key: str, value: V, read_at: float, ttl_s: float) -> None:
        """Keep a value that was read at `read_at` until `ttl_s` after that."""
        self._entries[key] = Entry(value, read_at, read_at + ttl_s)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()

    def latest(self, count: int) -> list[str]:
        """The keys used last, the very last one first."""
        return list(islice(reversed(self._entries), count))
