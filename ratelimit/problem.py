"""Refusals as RFC 9457 documents: one register of stable codes, one way to write them."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

CONTENT_TYPE = "application/problem+json"
#: Registered problem types for limits, draft-ietf-httpapi-ratelimit-headers, section 6.
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of refusal. Clients may rely on `code`; `title` is for people."""

    status: int
    code: str
    title: str
    type: str = "about:blank"


class DuplicateCode(ValueError):
    """Two different problems claim one code."""


CODES: dict[str, Problem] = {}


def register(*problems: Problem) -> None:
    """Makes codes known; raises `DuplicateCode` where one already means something else."""
    for problem in problems:
        if CODES.setdefault(problem.code, problem) != problem:
            raise DuplicateCode(problem.code)


def document(problem: Problem, detail: str = "", **extension: Any) -> dict[str, Any]:
    """The members of the answer's body; `extension` adds the problem's own."""
    members = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
    }
    if detail:
        members["detail"] = detail
    return members | extension


def render(problem: Problem, detail: str = "", **extension: Any) -> bytes:
    """The answer's body, of type `CONTENT_TYPE`."""
    head = _head(problem, detail)
    return f"{head},{_json(extension)[1:]}".encode() if extension else f"{head}}}".encode()


@lru_cache(maxsize=256)
def _head(problem: Problem, detail: str) -> str:
    """What is the same for all whom this is told, but for the bracket at its end."""
    return _json(document(problem, detail))[:-1]


RATE_LIMITED = Problem(429, "rate_limited", "Too many requests", QUOTA_EXCEEDED)
LIMITS_UNAVAILABLE = Problem(
    503, "limits_unavailable", "Limits cannot be checked at the moment", REDUCED_CAPACITY
)
register(RATE_LIMITED, LIMITS_UNAVAILABLE)
