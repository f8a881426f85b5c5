"""The demonstration television: what a device of a subscriber shows, in a browser.

It exists where `settings.DEMO` says so. The page is as public as any device: all that it can do is
ask for a code.
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def tv(request: HttpRequest) -> HttpResponse:
    """A screen that asks for a code and is signed in."""
    if not settings.DEMO:
        raise Http404
    page = render(request, "realtime/tv.html")
    page["Content-Security-Policy"] = content_security_policy()
    return page


def content_security_policy() -> str:
    """Everything from here, and a WebSocket to the gateway."""
    scheme, netloc, *_ = urlsplit(settings.REALTIME_URL)
    gateway = f"{'wss' if scheme == 'https' else 'ws'}://{netloc}"
    return "; ".join(
        (
            "default-src 'self'",
            f"connect-src 'self' {gateway}",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "object-src 'none'",
        )
    )
