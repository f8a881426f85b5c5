"""Lua scripts named by their content: two releases can run side by side on one Redis."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.exceptions import NoScriptError

Word = str | bytes | int


def text(word: bytes | str) -> str:
    """A reply of Redis that is text, whichever way its client reads it."""
    return word.decode() if isinstance(word, bytes) else word


class Script:
    """One atomic act, kept as a `.lua` file beside the code that runs it.

    A server that does not know the script (restart, failover, SCRIPT FLUSH) has run nothing, so it
    is sent the source instead, which it then remembers.
    """

    def __init__(self, path: Path) -> None:
        self.source = path.read_text(encoding="utf-8")
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, keys: Sequence[Word], args: Sequence[Word]) -> Any:
        """The script's reply; raises redis-py's errors."""
        try:
            return client.evalsha(self.digest, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.source, len(keys), *keys, *args)

    async def run_async(
        self, client: redis.asyncio.Redis, keys: Sequence[Word], args: Sequence[Word]
    ) -> Any:
        """The script's reply; raises redis-py's errors."""
        try:
            return await client.evalsha(self.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.source, len(keys), *keys, *args)
