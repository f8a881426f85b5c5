"""RateLimit fields, as draft-ietf-httpapi-ratelimit-headers-10 words them.

The draft still moves; this module is all that has to move with it. `q` is the quantity and `w` the
window of a policy; `r` is what remains of it and `t` the seconds until there is more.
"""

from functools import lru_cache
from math import ceil

from ratelimit.gcra import Verdict

Field = tuple[bytes, bytes]


def fields(verdict: Verdict) -> list[Field]:
    """The header fields of an answer; Retry-After only on a refusal, in whole seconds.

    It is rounded up and not earlier than the `t` of any limit that refused.
    """
    if not verdict.quotas:
        return [] if verdict.allowed else [(b"retry-after", retry_after(verdict))]
    policies, states = [], []
    for limit, remaining, reset_s in verdict.quotas:
        name = quoted(limit.name)
        policies.append(f"{name};q={limit.quantity};w={limit.window_s}")
        states.append(f"{name};r={remaining};t={reset_s}")
    lines = [
        (b"ratelimit-policy", ", ".join(policies).encode("ascii")),
        (b"ratelimit", ", ".join(states).encode("ascii")),
    ]
    return lines if verdict.allowed else [*lines, (b"retry-after", retry_after(verdict))]


def retry_after(verdict: Verdict) -> bytes:
    """Seconds until the longest wait is over, at least one."""
    return b"%d" % max(1, ceil(verdict.retry_after_s))


@lru_cache(maxsize=1024)
def quoted(text: str) -> str:
    """A String of RFC 9651; characters it cannot hold become `?`."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
