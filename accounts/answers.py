"""Refusals of the API as problem+json (RFC 9457) with a stable `code`."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.response import Response

import audit
from ratelimit import problem
from ratelimit.herd import Herd

logger = logging.getLogger(__name__)

ERRORS_SHOWN = 20
NAME_CHARACTERS = 64

#: What a dead dependency raises, whoever asked it.
UNAVAILABLE: tuple[tuple[type[Exception], str], ...] = (
    (audit.AuditUnavailable, "audit_unavailable"),
    (OperationalError, "database_unavailable"),
    (InterfaceError, "database_unavailable"),
)
#: What MariaDB says when it takes no writes: disk full, table full, read-only in two ways.
UNWRITABLE = frozenset({1021, 1114, 1290, 1836})
#: The first class that fits decides; what is not here is no refusal but our bug, and a 500.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ParseError, "malformed"),
    (exceptions.NotAuthenticated, "not_authenticated"),
    (exceptions.AuthenticationFailed, "not_authenticated"),
    (exceptions.PermissionDenied, "permission_denied"),
    (exceptions.NotFound, "not_found"),
    (exceptions.MethodNotAllowed, "method_not_allowed"),
    (exceptions.NotAcceptable, "not_acceptable"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
    (exceptions.Throttled, "rate_limited"),
    (Http404, "not_found"),
    (PermissionDenied, "permission_denied"),
    (RequestDataTooBig, "too_large"),
    (SuspiciousOperation, "malformed"),
    (UnreadablePostError, "malformed"),
    *UNAVAILABLE,
)
#: Those who met a dead dependency return one after the other, not all in its first second.
_sent_away = Herd()
#: Refusals whose words are ours and say more than the title does.
_TELLING = (exceptions.ParseError, exceptions.AuthenticationFailed, exceptions.MethodNotAllowed)


def problem_response(code: str, detail: str = "", **extension: Any) -> Response:
    """The problem registered as `code`. `headers` in the extension become headers of the answer."""
    headers = extension.pop("headers", None)
    document = problem.document(problem.CODES[code], detail, **extension)
    response = Response(
        document, status=document["status"], headers=headers, content_type=problem.CONTENT_TYPE
    )
    response["Cache-Control"] = "no-store"
    return response


def problem_page(code: str, detail: str = "", **extension: Any) -> HttpResponse:
    """`problem_response` for views that are not Django REST framework's."""
    found = problem.CODES[code]
    body = problem.render(found, detail, **extension)
    response = HttpResponse(body, status=found.status, content_type=problem.CONTENT_TYPE)
    response["Cache-Control"] = "no-store"
    return response


def unavailable_page(retry_after_s: float) -> HttpResponse:
    """The answer to a request that was not begun, because the database cannot be asked."""
    seconds = max(1, math.ceil(retry_after_s))
    page = problem_page("database_unavailable", retry_after=seconds)
    page["Retry-After"] = str(seconds)
    return page


def problem_for_exception(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Django REST framework's EXCEPTION_HANDLER. None, for a bug, lets Django answer 500."""
    if isinstance(error, exceptions.ValidationError):
        return _invalid(error)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is None and isinstance(error, exceptions.APIException):
        code = str(error.default_code)
    if code is None or code not in problem.CODES:
        return None
    if isinstance(error, tuple(kind for kind, _ in UNAVAILABLE)):
        log_unavailable(error, "a request is refused")
    detail = str(error) if isinstance(error, _TELLING) else ""
    headers = _headers(error, code)
    wait = headers.get("Retry-After")
    extension = {"retry_after": int(wait)} if wait else {}
    response = problem_response(code, detail, headers=headers, **extension)
    mark(response, code)
    return response


def mark(response: HttpResponse, code: str) -> None:
    """Have `is_well` tell whether the database itself failed; `code` is the problem's."""
    response.database_failed = code == "database_unavailable"  # type: ignore[attr-defined]


def is_well(response: HttpResponseBase) -> bool:
    """Whether the database did what this response asked of it, for whoever counts that."""
    return not getattr(response, "database_failed", False)


def log_unavailable(error: BaseException, what: str) -> None:
    """A warning of a dependency that is away; an error of one that takes no writes: somebody has
    to mend it.
    """
    code = error.args[0] if isinstance(error, OperationalError) and error.args else None
    unwritable = isinstance(error, audit.AuditUnavailable) or code in UNWRITABLE
    logger.log(logging.ERROR if unwritable else logging.WARNING, "%s: %s", what, error)


def retry_after() -> str:
    """The seconds after which this one, of all who met a dead dependency, shall return."""
    return str(_sent_away.retry_after())


def _headers(error: Exception, code: str) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if problem.CODES[code].status == 503:
        headers["Retry-After"] = retry_after()
    elif (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _invalid(error: exceptions.ValidationError) -> Response:
    errors = list(_errors(error.detail, ""))[:ERRORS_SHOWN]
    unknown = any(item["code"] == "unknown_field" for item in errors)
    return problem_response("unknown_field" if unknown else "invalid", errors=errors)


def _errors(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Each wrong value with a JSON pointer (RFC 6901) to it."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            whole = name == "non_field_errors"
            yield from _errors(inner, pointer if whole else f"{pointer}/{_escaped(name)}")
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list)
            yield from _errors(inner, f"{pointer}/{index}" if nested else pointer)
    else:
        code = getattr(detail, "code", "invalid")
        yield {"pointer": pointer, "code": code, "detail": str(detail)[:200]}


def _escaped(name: object) -> str:
    return str(name)[:NAME_CHARACTERS].replace("~", "~0").replace("/", "~1")
