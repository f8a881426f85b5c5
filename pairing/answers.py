"""How pairing's views answer: what is said of a refusal, and JSON that no cache keeps."""

import json
from collections.abc import Mapping
from dataclasses import fields
from math import ceil
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse
from rest_framework.response import Response

from accounts.strict import problem_response
from pairing.refusal import Refusal
from pairing.serializers import ProblemSerializer
from ratelimit.problem import CODES


def told(data: Any, status: int = 200) -> HttpResponse:
    """`data`, a mapping or a dataclass, as JSON in which nothing could be taken for markup."""
    text = json.dumps(data, separators=(",", ":"), default=_members)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return HttpResponse(
        text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _members(answer: Any) -> Mapping[str, Any]:
    return {field.name: getattr(answer, field.name) for field in fields(answer)}


def refused(refusal: Refusal, **extension: Any) -> Response:
    """The problem of a refusal, with Retry-After where waiting helps."""
    headers = {}
    if refusal.retry_after_s:
        extension["retry_after"] = ceil(refusal.retry_after_s)
        headers["Retry-After"] = str(extension["retry_after"])
    if refusal.violated:
        extension["violated-policies"] = list(refusal.violated)
    if CODES[refusal.code].status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="stabilizer"'
    return problem_response(refusal.code, refusal.detail, headers=headers, **extension)


def problems(*codes: str) -> dict[tuple[int, str], OpenApiResponse]:
    """The refusals of an operation for its OpenAPI entry: an answer per status names its codes."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        (status, "application/problem+json"): OpenApiResponse(
            ProblemSerializer, description=", ".join(f"`{code}`" for code in named)
        )
        for status, named in by_status.items()
    }
