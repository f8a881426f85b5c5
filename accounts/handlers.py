"""What Django itself refuses: problem+json for programs, Django's own pages for people."""

import sys
from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from accounts.answers import UNAVAILABLE, log_unavailable, mark, problem_page, retry_after

PROGRAMS = ("/api/", "/oauth/", "/.well-known/")


@csrf_exempt
def unknown_path(request: HttpRequest) -> HttpResponse:
    """The last route below the API's prefixes, so that development answers as production does."""
    detail = "" if request.path.endswith("/") else "The paths of the API end in a slash."
    return problem_page("not_found", detail)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    code = "too_large" if isinstance(exception, RequestDataTooBig) else "malformed"
    page = _answer(request, code, defaults.bad_request, exception)
    if isinstance(exception, RequestDataTooBig):
        page.status_code = 413
    return page


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, "permission_denied", defaults.permission_denied, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, "not_found", defaults.page_not_found, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """A bug, or a dependency that died where no view was running, as while a session was saved."""
    unavailable = _unavailable(request, sys.exc_info()[1])
    return unavailable or _answer(request, "server_error", defaults.server_error)


class UnavailableMiddleware:
    """A dead dependency is 503 with a time to return, on pages for people too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _unavailable(request, error)


def _unavailable(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    code = next((code for kind, code in UNAVAILABLE if isinstance(error, kind)), None)
    if code is None or error is None:
        return None
    log_unavailable(error, f"{request.method} {request.path}")
    wait = retry_after()
    if request.path.startswith(PROGRAMS):
        page = problem_page(code, retry_after=int(wait))
    else:
        # Without the request: what the site's pages say of the person may need the database.
        page = HttpResponse(render_to_string("accounts/unavailable.html"), status=503)
    page["Retry-After"] = wait
    mark(page, code)
    return page


def _answer(
    request: HttpRequest, code: str, page: Callable[..., Any], *arguments: Any
) -> HttpResponse:
    if request.path.startswith(PROGRAMS):
        return problem_page(code)
    answer: HttpResponse = page(request, *arguments)
    return answer
