"""Answers of lists as they were given a moment ago: under pressure they are given again.

A copy belongs to the one caller who got it, down to its scopes, and to everything that the answer
depends on: nobody ever sees what was made for somebody else. A revoked key or token is no caller
any more, and finds none.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from stabilizer.gate.arrival import Arrival
from stabilizer.gate.identity import Caller

Header = tuple[bytes, bytes]
Key = tuple[object, ...]
Message = MutableMapping[str, Any]

#: After so long one request of all who ask is let through, and what it gets is the next copy.
RENEW_S = 5.0
#: Nothing older is given: then it is a refusal, or a query.
OLDEST_S = 60.0
MOST_BYTES = 8 * 1024 * 1024
LARGEST_BYTES = 256 * 1024
#: Of a copy, beside its body, in bytes: headers and key, roundly.
OVERHEAD = 2048
#: Said anew of each copy, or of nobody else's concern.
OWN_HEADERS = frozenset({b"age", b"cache-control", b"content-length", b"degraded"})


@dataclass(slots=True)
class Copy:
    """An answer with 200, when it was made, and when somebody went to renew it last."""

    headers: list[Header]
    body: bytes
    at: float
    renewed_at: float

    def messages(self, now: float, added: list[Header]) -> tuple[Message, Message]:
        """The answer as ASGI sends it, marked with its age, and with headers `added` to its own."""
        headers = [
            *self.headers,
            (b"content-length", b"%d" % len(self.body)),
            (b"age", b"%d" % max(0, now - self.at)),
            (b"cache-control", b"private, no-cache"),
            (b"degraded", b"lists_stale"),
            *added,
        ]
        return (
            {"type": "http.response.start", "status": 200, "headers": headers},
            {"type": "http.response.body", "body": self.body},
        )


class Copies:
    """The copies of one process, `MOST_BYTES` of them; the one that was longest unused goes."""

    def __init__(self, clock: Callable[[], float], most_bytes: int = MOST_BYTES) -> None:
        self.size = 0
        self._most = most_bytes
        self._clock = clock
        self._kept: OrderedDict[Key, Copy] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Key) -> Copy | None:
        """The copy, if it is not too old."""
        with self._lock:
            copy = self._kept.get(key)
            if copy is None:
                return None
            if self._clock() - copy.at >= OLDEST_S:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return copy

    def claim(self, copy: Copy) -> bool:
        """Whether this request is the one that renews it: one in `RENEW_S`, from that age on."""
        with self._lock:
            now = self._clock()
            if now - copy.renewed_at < RENEW_S:
                return False
            copy.renewed_at = now
            return True

    def keep(self, key: Key, headers: list[Header], body: bytes) -> None:
        """Remember an answer. One that is large, or sets a cookie, is none to give again."""
        names = {name.lower() for name, _ in headers}
        if len(body) > LARGEST_BYTES or b"set-cookie" in names:
            return
        shared = [pair for pair in headers if pair[0].lower() not in OWN_HEADERS]
        now = self._clock()
        with self._lock:
            self._drop(key)
            self._kept[key] = Copy(shared, body, now, now)
            self.size += len(body) + OVERHEAD
            while self.size > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        copy = self._kept.pop(key, None)
        if copy is not None:
            self.size -= len(copy.body) + OVERHEAD


class Keeping:
    """`send` of a list: remembers the answer that passes, if it is whole and a 200."""

    __slots__ = ("_copies", "_headers", "_key", "_send")

    def __init__(self, send: Callable[[Message], Any], copies: Copies, key: Key) -> None:
        self._send = send
        self._copies = copies
        self._key = key
        self._headers: list[Header] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._headers = list(message.get("headers", ())) if message["status"] == 200 else None
        elif self._headers is not None:
            if not message.get("more_body", False):
                self._copies.keep(self._key, self._headers, message.get("body", b""))
            self._headers = None
        await self._send(message)


def key(arrival: Arrival, caller: Caller, query: bytes) -> Key | None:
    """What a copy is kept under; None where nothing is kept.

    A person's session is not known to the gate: whoever shows no key or token gets no copy.
    """
    who = caller.principal
    if who is None or not arrival.policy.copied or arrival.method != "GET":
        return None
    headers = arrival.headers
    return (
        (who.kind, who.id, who.tenant_id, who.scopes, who.subscriber_code),
        (arrival.path, query),
        # The answer's links say where it was asked, and its form what was accepted.
        (arrival.is_https, headers[b"host"], headers[b"accept"], headers[b"accept-language"]),
    )
