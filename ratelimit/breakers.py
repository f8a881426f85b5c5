"""What the fleet knows of its circuit breakers: kept in Redis while they are open.

Asked by every process twice a second. A subscription would tell sooner, but not reliably: it loses
what is said while it reconnects, and has to ask then all the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ratelimit.scripts import Script
from ratelimit.scripts import Word as Argument
from ratelimit.store import Store

BREAKER = Script(Path(__file__).parent / "lua" / "breaker.lua")
#: A probe that is not heard of for so long is another's turn.
CLAIM_MS = 2_000
#: A breaker that nobody probed for so long after its due is closed: the next call finds out.
KEPT_MS = 60_000
Act = Literal["look", "open", "close", "claim"]
LOOK: Act = "look"
OPEN: Act = "open"
CLOSE: Act = "close"
CLAIM: Act = "claim"


class Word(NamedTuple):
    """What a process tells of one breaker; `LOOK` only asks."""

    act: Act
    failures: int = 0
    wait_s: float = 0


class Record(NamedTuple):
    """An open breaker: its failures in a row, and the seconds until it may be probed."""

    failures: int
    wait_s: float


class Board:
    """The records of the breakers `names`."""

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self._store = store
        self._keys = [key(name) for name in names]

    async def exchange(self, words: Sequence[Word]) -> list[Record | None]:
        """Tells one word of each breaker; what is on record then, None of a closed one.

        Raises `StoreAway`.
        """
        answer = await self._store.run_async(BREAKER, self._keys, _arguments(words))
        return _records(answer)

    def exchange_now(self, words: Sequence[Word]) -> list[Record | None]:
        """`exchange` for threads."""
        return _records(self._store.run(BREAKER, self._keys, _arguments(words)))

    def claim(self, name: str, failures: int) -> float:
        """The seconds to wait for another process's probe, 0 if it is ours; raises `StoreAway`."""
        answer: list[int] = self._store.run(
            BREAKER, [key(name)], _arguments([Word(CLAIM, failures)])
        )
        return answer[1] / 1000


def key(name: str) -> str:
    """Where breaker `name` is on record."""
    return f"rl:{{-}}:breaker:{name}"


def _arguments(words: Sequence[Word]) -> list[Argument]:
    arguments: list[Argument] = [CLAIM_MS, KEPT_MS]
    for act, failures, wait_s in words:
        arguments += [act, failures, max(0, round(wait_s * 1000))]
    return arguments


def _records(answer: Sequence[int]) -> list[Record | None]:
    pairs = zip(answer[::2], answer[1::2], strict=True)
    return [None if failures < 0 else Record(failures, ms / 1000) for failures, ms in pairs]
