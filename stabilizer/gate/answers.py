"""What the gate says to those it does not let in (RFC 9457), and what it adds to other answers."""

import json
import math
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import accounts.problems  # noqa: F401
import pairing.problems  # noqa: F401
from ratelimit import headers as quota_headers
from ratelimit.gcra import Verdict
from ratelimit.problem import (
    CODES,
    CONTENT_TYPE,
    LIMITS_UNAVAILABLE,
    RATE_LIMITED,
    REDUCED_CAPACITY,
    Problem,
    register,
    render,
)
from stabilizer.gate.policy import Policy

Header = tuple[bytes, bytes]
Message = MutableMapping[str, Any]

OVERLOADED = Problem(503, "overloaded", "Temporarily reduced capacity", REDUCED_CAPACITY)
BODY_TIMEOUT = Problem(408, "body_timeout", "The request did not arrive in time")
register(OVERLOADED, BODY_TIMEOUT)
TOO_LARGE = CODES["too_large"]
FORGED = CODES["invalid_device_code"]

#: RFC 6749, 5.2 and RFC 8628, 3.5: what an OAuth client understands of a refusal.
OAUTH_ERRORS = {429: "slow_down", 503: "temporarily_unavailable", 413: "invalid_request"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of the gate's own."""

    status: int
    headers: list[Header]
    body: bytes

    def messages(self, added: list[Header]) -> tuple[Message, Message]:
        """The answer as ASGI sends it, with headers `added` to its own."""
        headers = self.headers + added
        return (
            {"type": "http.response.start", "status": self.status, "headers": headers},
            {"type": "http.response.body", "body": self.body},
        )


def added(request_id: str, verdict: Verdict | None = None) -> list[Header]:
    """The headers of every answer, the application's as well as the gate's."""
    name = (b"x-request-id", request_id.encode())
    return [name] if verdict is None else [name, *quota_headers.fields(verdict)]


def over_limits(policy: Policy, verdict: Verdict, decision: str) -> Answer:
    """429, naming all the caller's limits that are violated; 503 where they cannot be checked."""
    return _problem(
        policy,
        LIMITS_UNAVAILABLE if verdict.unavailable else RATE_LIMITED,
        quota_headers.fields(verdict),
        **{"violated-policies": list(verdict.violated)},
        retry_after=int(quota_headers.retry_after(verdict)),
        decision=decision,
    )


def overloaded(policy: Policy, retry_after_s: float, decision: str) -> Answer:
    """503: no slot, and not a word about how many there are."""
    seconds = _whole(retry_after_s)
    header = (b"retry-after", b"%d" % seconds)
    return _problem(policy, OVERLOADED, [header], retry_after=seconds, decision=decision)


def too_large(policy: Policy, decision: str) -> Answer:
    """413; the connection ends, or the rest of the body would have to be read."""
    return _problem(policy, TOO_LARGE, [(b"connection", b"close")], decision=decision)


def too_slow(policy: Policy, decision: str) -> Answer:
    """408: the body did not come."""
    return _problem(policy, BODY_TIMEOUT, [(b"connection", b"close")], decision=decision)


def forged(policy: Policy, decision: str) -> Answer:
    """The device_code is not one of ours, in the words of the view that would have found out."""
    if policy.oauth:
        document = {"error": "invalid_grant", "error_description": FORGED.title}
        return _answer(400, b"application/json", json.dumps(document).encode(), ())
    challenge = (b"www-authenticate", b'Bearer realm="stabilizer"')
    return _problem(policy, FORGED, [challenge], decision=decision)


def _problem(
    policy: Policy, problem: Problem, headers: Iterable[Header], **extension: Any
) -> Answer:
    if policy.oauth and problem.status in OAUTH_ERRORS:
        extension["error"] = OAUTH_ERRORS[problem.status]
    body = render(problem, **extension)
    return _answer(problem.status, CONTENT_TYPE.encode(), body, headers)


def _answer(status: int, content_type: bytes, body: bytes, headers: Iterable[Header]) -> Answer:
    return Answer(
        status,
        [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *headers,
        ],
        body,
    )


def _whole(seconds: float) -> int:
    """Rounded up: a client that comes back on the second is not too early."""
    return max(1, math.ceil(seconds))
