"""What the gate says to those it does not let in, and what it adds to other answers.

Programs get a problem document (RFC 9457), people in a browser the same refusal as a page.
"""

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
from stabilizer.gate import page
from stabilizer.gate.arrival import Arrival

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


def over_limits(arrival: Arrival, verdict: Verdict) -> Answer:
    """429, naming all the caller's limits that are violated; 503 where they cannot be checked."""
    return _problem(
        arrival,
        LIMITS_UNAVAILABLE if verdict.unavailable else RATE_LIMITED,
        quota_headers.fields(verdict),
        **{"violated-policies": list(verdict.violated)},
        retry_after=int(quota_headers.retry_after(verdict)),
    )


def overloaded(arrival: Arrival, retry_after_s: float) -> Answer:
    """503: no slot, and not a word about how many there are."""
    seconds = _whole(retry_after_s)
    header = (b"retry-after", b"%d" % seconds)
    return _problem(arrival, OVERLOADED, [header], retry_after=seconds)


def unavailable(arrival: Arrival, retry_after_s: float) -> Answer:
    """503: the database cannot be asked, as the view would have found out."""
    seconds = _whole(retry_after_s)
    header = (b"retry-after", b"%d" % seconds)
    return _problem(arrival, CODES["database_unavailable"], [header], retry_after=seconds)


def too_large(arrival: Arrival) -> Answer:
    """413; the connection ends, or the rest of the body would have to be read."""
    return _problem(arrival, TOO_LARGE, [(b"connection", b"close")])


def too_slow(arrival: Arrival) -> Answer:
    """408: the body did not come."""
    return _problem(arrival, BODY_TIMEOUT, [(b"connection", b"close")])


def forged(arrival: Arrival) -> Answer:
    """The device_code is not one of ours, in the words of the view that would have found out."""
    if arrival.policy.oauth:
        document = {"error": "invalid_grant", "error_description": FORGED.title}
        return _answer(400, b"application/json", json.dumps(document).encode(), ())
    challenge = (b"www-authenticate", b'Bearer realm="stabilizer"')
    return _problem(arrival, FORGED, [challenge])


def _problem(
    arrival: Arrival, problem: Problem, headers: Iterable[Header], **extension: Any
) -> Answer:
    if problem.status in page.STATUSES and arrival.wants_page:
        return _page(arrival, problem, headers, extension.get("retry_after"))
    if arrival.policy.oauth and problem.status in OAUTH_ERRORS:
        extension["error"] = OAUTH_ERRORS[problem.status]
    body = render(problem, **extension, decision=arrival.decision_id)
    return _answer(problem.status, CONTENT_TYPE.encode(), body, headers)


def _page(
    arrival: Arrival, problem: Problem, headers: Iterable[Header], wait_s: int | None
) -> Answer:
    is_get = arrival.method in ("GET", "HEAD")
    body = page.render(problem, arrival.headers, arrival.decision_id, wait_s=wait_s, is_get=is_get)
    return _answer(problem.status, page.CONTENT_TYPE, body, [*headers, *page.HEADERS])


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
