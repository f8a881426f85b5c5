"""The short way for programs: past what Django does for people in a browser."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation.trans_real import parse_accept_lang_header

from accounts.handlers import PROGRAMS

Handler = Callable[[HttpRequest], HttpResponse]


class ProgramsMiddleware:
    """Calls the view at once where no middleware that stands further in has anything to do.

    Sessions, forms, messages and the language of pages are for people. A program sends no cookie;
    a call of the API that brings one is a person's, and goes the long way. Views of the API are
    exempt from CSRF checks and identify the caller themselves.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self._view = _innermost(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        told = request.META
        if told.get("HTTP_COOKIE") or not request.path_info.startswith(PROGRAMS):
            return self.get_response(request)
        request.get_host()  # refuses a host that is not ours, as CommonMiddleware does
        language = _language(told.get("HTTP_ACCEPT_LANGUAGE", ""))
        if translation.get_language() != language:
            translation.activate(language)
        response = self._view(request)
        if not response.streaming and "Content-Length" not in response.headers:
            response.headers["Content-Length"] = str(len(response.content))
        response.headers.setdefault("X-Frame-Options", settings.X_FRAME_OPTIONS)
        return response


def _innermost(handler: Any) -> Handler:
    """What the last middleware calls: Django wraps each of them in a function of its own."""
    while further := getattr(getattr(handler, "__wrapped__", handler), "get_response", None):
        handler = further
    return cast(Handler, handler)


@lru_cache(maxsize=1000)
def _language(accepted: str) -> str:
    """Which of our languages an Accept-Language header likes best, as LocaleMiddleware finds it."""
    for wanted, _ in parse_accept_lang_header(accepted):
        if wanted == "*":
            break
        try:
            return translation.get_supported_language_variant(wanted)
        except LookupError:
            continue
    return settings.LANGUAGE_CODE
