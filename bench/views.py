"""Views that do next to nothing, as they are and behind each peer's three limits."""

import os
import time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django_ratelimit.decorators import ratelimit  # type: ignore[import-untyped]
from django_smart_ratelimit.decorator import rate_limit
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from accounts.models import Tenant
from bench.devices import FINGERPRINT, UDID

#: Of a request that does something: what signing a device in takes, roughly.
WORK_S = 0.005
BRIEF_S = 0.002
#: In an ASGI scope: called when the view begins, by those who want to know.
BEGINS = "bench.begins"
#: What a peer that limits all calls together is told that can be served, a second.
RATE = os.environ.get("BENCH_RATE", "100")


def empty(request: HttpRequest | Request) -> HttpResponse:
    return HttpResponse(b"{}", content_type="application/json")


def query(request: HttpRequest) -> HttpResponse:
    """One query, by primary key."""
    Tenant.objects.filter(pk=1).exists()
    return empty(request)


def work(request: HttpRequest, **_: Any) -> HttpResponse:
    """One query, and `WORK_S` of processor time that holds the GIL as a view of Python does."""
    return _busy(request, WORK_S)


def brief(request: HttpRequest) -> HttpResponse:
    """The same, in less time."""
    return _busy(request, BRIEF_S)


def _busy(request: HttpRequest | Request, work_s: float) -> HttpResponse:
    if begins := getattr(request, "scope", {}).get(BEGINS):
        begins()
    until = time.thread_time() + work_s
    Tenant.objects.filter(pk=1).exists()
    while time.thread_time() < until:
        pass
    return empty(request)


class ByHeader(SimpleRateThrottle):
    """Counts by what a header says, in a minute: REST framework has no window of five."""

    header: str

    def get_cache_key(self, request: Request, view: APIView) -> str:
        ident = request.headers.get(self.header, "")
        return self.cache_format % {"scope": self.scope, "ident": ident}


class UdidThrottle(ByHeader):
    scope, rate, header = "udid", "5/minute", UDID


class FingerprintThrottle(ByHeader):
    scope, rate, header = "fingerprint", "5/minute", FINGERPRINT


class AddressThrottle(SimpleRateThrottle):
    scope, rate = "address", "120/minute"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


class Unthrottled(APIView):
    def get(self, request: Request, **_: Any) -> Response:
        return Response({})


class Throttled(Unthrottled):
    throttle_classes = (UdidThrottle, FingerprintThrottle, AddressThrottle)


@ratelimit(key=f"header:{UDID}", rate="5/5m")  # type: ignore[untyped-decorator]
@ratelimit(key=f"header:{FINGERPRINT}", rate="5/5m")  # type: ignore[untyped-decorator]
@ratelimit(key="ip", rate="120/m")  # type: ignore[untyped-decorator]
def ratelimited(request: HttpRequest) -> HttpResponse:
    return empty(request)


@rate_limit(key=f"header:{UDID}", rate="5/m")
@rate_limit(key=f"header:{FINGERPRINT}", rate="5/m")
@rate_limit(key="ip", rate="120/m")
def smart(request: HttpRequest) -> HttpResponse:
    return empty(request)


class AllThrottle(SimpleRateThrottle):
    """One limit for all: as many a second as can be served."""

    scope, rate = "all", f"{RATE}/second"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return self.cache_format % {"scope": self.scope, "ident": "all"}


class ThrottledWork(APIView):
    throttle_classes = (AllThrottle,)

    def get(self, request: Request, **_: Any) -> HttpResponse:
        return _busy(request, WORK_S)

    post = get


@rate_limit(key="all", rate=f"{RATE}/s")
def smart_work(request: HttpRequest, **_: Any) -> HttpResponse:
    return _busy(request, WORK_S)


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    """django-ratelimit raises, and leaves the answer to Django's handler of 403."""
    return HttpResponse(b"{}", status=429, content_type="application/json")
