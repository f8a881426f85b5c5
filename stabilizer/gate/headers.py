"""The request headers that the gate reads, found in one pass."""

from collections.abc import Iterable

LONGEST_ACCEPT = 1024
LONGEST_FINGERPRINT = 512
#: Everything else is not looked at.
READ = frozenset(
    {
        b"accept",
        b"accept-language",
        b"authorization",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"request-timeout",
        b"transfer-encoding",
        b"x-deadline-ms",
        b"x-device-fingerprint",
        b"x-device-id",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-request-id",
    }
)


class Headers:
    """Who calls, how much follows, how long the client waits; empty where it did not say.

    `pairs` are those of an ASGI scope, whose names are in lower case. A header that comes more than
    once is one list, as it is for Django.
    """

    __slots__ = ("_found",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        found: dict[bytes, bytes] = {}
        for name, value in pairs:
            if name in READ:
                if name in found:
                    value = found[name] + (b"; " if name == b"cookie" else b",") + value
                found[name] = value
        self._found = found

    def __getitem__(self, name: bytes) -> str:
        return self._found.get(name, b"").decode("latin-1")

    @property
    def has_body(self) -> bool:
        found = self._found
        return b"transfer-encoding" in found or found.get(b"content-length", b"0") != b"0"

    @property
    def fingerprint(self) -> str:
        given = self[b"x-device-fingerprint"] or self[b"x-device-id"]
        return given[:LONGEST_FINGERPRINT]

    @property
    def deadline_ms(self) -> float | None:
        """The client gives up after this long."""
        found = self._found
        if b"x-deadline-ms" not in found and b"request-timeout" not in found:
            return None
        waits = (_number(self[b"x-deadline-ms"]), _number(self[b"request-timeout"]) * 1000)
        wait_ms = min(waits)
        return None if wait_ms == float("inf") else wait_ms

    @property
    def prefers_html(self) -> bool:
        """Names HTML, and JSON not before it. Programs that take anything (`*/*`) do not."""
        weights = dict(map(_weighed, self[b"accept"][:LONGEST_ACCEPT].lower().split(",")))
        html = weights.get("text/html", 0)
        json = (weights.get("application/json", 0), weights.get("application/problem+json", 0))
        return html > 0 and html >= max(json)

    def cookie(self, name: str) -> str:
        """The value of a cookie; of several of one name the last, as Django reads them."""
        found = ""
        for pair in self[b"cookie"].split(";"):
            key, _, value = pair.partition("=")
            if key.strip() == name:
                found = value.strip()
        return found


def _weighed(media_range: str) -> tuple[str, float]:
    """A media range and its weight, 1 where it says none (RFC 9110, 12.5.1)."""
    name, *parameters = (part.strip() for part in media_range.split(";"))
    weights = (_number(part[2:]) for part in parameters if part.startswith("q="))
    return name, next(weights, 1)


def _number(text: str) -> float:
    """`text` as a duration; one that says nothing, or nonsense, is endless."""
    try:
        number = float(text)
    except ValueError:
        return float("inf")
    return number if number >= 0 else float("inf")
