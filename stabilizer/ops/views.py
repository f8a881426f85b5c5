"""The dashboard, for staff: the page, its stream, and the day that it can show."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_POST, require_safe

from ratelimit.forcing import ForcingForm
from ratelimit.models import Flag
from ratelimit.store import StoreAway
from stabilizer.ops import feed, history, shelf
from stabilizer.ops.collector import columns

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
#: Who has it may force and release flags.
MAY_FORCE = "ratelimit.change_flag"
View = Callable[..., HttpResponseBase]


def staff_only(view: View) -> View:
    """Others are refused; who is nobody yet and asks for the page may log in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if user.is_active and user.is_staff:
            return view(request, *args, **kwargs)
        if user.is_anonymous and view.__name__ == "page":
            return redirect_to_login(request.get_full_path())
        raise PermissionDenied

    return guarded


@never_cache
@require_safe
@staff_only
def page(request: HttpRequest) -> HttpResponse:
    """The dashboard. It has no figures of its own: the stream brings them."""
    may_force = request.user.has_perm(MAY_FORCE)
    answer = render(request, "ops/dashboard.html", {"may_force": may_force})
    answer["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return answer


@never_cache
@require_safe
@staff_only
def stream(request: HttpRequest) -> HttpResponseBase:
    """Server-sent events. The thread that looked at the session is free once they begin."""
    live = feed.shared()
    if live is None or live.is_full:
        busy = HttpResponse(status=503)
        busy["Retry-After"] = "5"
        return busy
    answer = StreamingHttpResponse(
        live.stream(kept(history.SECONDS)), content_type="text/event-stream; charset=utf-8"
    )
    # nginx would keep the events for itself.
    answer["X-Accel-Buffering"] = "no"
    return answer


@never_cache
@require_safe
@gzip_page
@staff_only
def day(request: HttpRequest) -> HttpResponse:
    """The rows of 24 hours, by ten seconds."""
    names = ",".join(f'"{name}"' for name in columns())
    body = f'{{"columns":[{names}],"rows":[{",".join(kept(history.TENS))}]}}'
    return HttpResponse(body, content_type="application/json")


@never_cache
@require_POST
@staff_only
def flag(request: HttpRequest, name: str) -> HttpResponse:
    """Force a flag, or release it; 400 names what is missing."""
    if not request.user.has_perm(MAY_FORCE):
        raise PermissionDenied
    chosen = get_object_or_404(Flag, name=name)
    form = ForcingForm(request.POST, instance=chosen)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors.get_json_data()}, status=400)
    form.decide(chosen, actor=f"person:{request.user.pk}")
    return JsonResponse({"name": name, "forced": chosen.forced})


def kept(key: str) -> list[str]:
    """What Redis keeps; nothing where it is away."""
    try:
        return history.rows(shelf.shared(), key)
    except StoreAway:
        return []
