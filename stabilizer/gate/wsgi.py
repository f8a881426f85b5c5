"""The gate for projects that stay on WSGI: Django middleware over the same admission control.

A WSGI server has given a request its thread before Django is asked, so a refusal costs more here
than before an ASGI server, and a client that leaves its queue is not noticed. The answers are the
same.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.answers import is_well
from ratelimit.gcra import Verdict
from stabilizer.gate import answers, trial
from stabilizer.gate.answers import Answer
from stabilizer.gate.arrival import ADMISSION, Arrival
from stabilizer.gate.body import Unread, announced_above
from stabilizer.gate.breaker import watched
from stabilizer.gate.candidate import Candidate
from stabilizer.gate.control import Control
from stabilizer.gate.ticket import State, Ticket

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class GateMiddleware:
    """First in MIDDLEWARE. What it refuses reaches no other middleware, no view and no database."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: GetResponse, control: Control | None = None) -> None:
        self.get_response = get_response
        self.control = control or Control()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not self.control.started:
            self.control.start_now()
        self.control.observer.arrived()
        arrival = self._arrive(request)
        content = _unchunked(request, arrival) or _body(request, arrival)
        if isinstance(content, Unread):
            return _response(arrival, self.control.refusals.unread(arrival, content))
        candidate = self.control.candidate(arrival, content)
        if isinstance(candidate, Answer):
            return _response(arrival, candidate)
        known = self.control.limiter.recall(candidate.charges)
        if not known and (refusal := self.control.turned_down(candidate)):
            return _response(arrival, refusal)
        verdict = known or self._charge(candidate)
        if not verdict.allowed:
            return _response(arrival, self.control.refusals.over_limits(candidate, verdict))
        return self._serve(request, candidate, verdict)

    def _serve(
        self, request: HttpRequest, candidate: Candidate, verdict: Verdict
    ) -> HttpResponseBase:
        control, arrival, breaker = self.control, candidate.arrival, candidate.breaker
        if not self._wait(candidate.ticket):
            control.limiter.refund_now(candidate.charged)
            return _response(arrival, control.refusals.overloaded(candidate))
        admission = control.admission(candidate, verdict.quotas)
        request.META[ADMISSION] = admission
        request.pressure = admission.pressure  # type: ignore[attr-defined]
        response = watched(breaker, lambda: self._served(request, candidate.ticket), is_well)
        if response is None:
            # It has opened while this one waited for its slot.
            assert breaker is not None
            self._end(candidate.ticket)
            control.limiter.refund_now(candidate.charged)
            return _response(arrival, control.refusals.unavailable(candidate, breaker))
        control.ended(candidate, response.status_code, control.clock())
        control.limiter.refund_now(control.refundable(candidate, response.status_code))
        for name, value in answers.added(arrival.request_id, verdict):
            response[name.decode()] = value.decode()
        return response

    def _arrive(self, request: HttpRequest) -> Arrival:
        meta = request.META
        peer = meta.get("REMOTE_ADDR", "")
        arrival = self.control.arrive(request.method or "", request.path_info, peer, _headers(meta))
        meta["REMOTE_ADDR"] = arrival.address
        if arrival.is_https:
            meta["wsgi.url_scheme"] = "https"
        return arrival

    def _charge(self, candidate: Candidate) -> Verdict:
        return trial.charge_now(self.control.limiter, self.control.observer, candidate)

    def _wait(self, ticket: Ticket) -> bool:
        control = self.control
        settled = threading.Event()
        with control.lock:
            if control.slots.take(ticket):
                return True
            ticket.wake = settled.set
            if not control.slots.join(ticket):
                return False
        control.ask_for_slots()
        began_at = control.clock()
        settled.wait(max(0, ticket.deadline - began_at))
        ticket.waited_s = control.clock() - began_at
        control.delays.count(ticket)
        with control.lock:
            control.slots.drop(ticket)
            return ticket.state is State.GRANTED

    def _served(self, request: HttpRequest, ticket: Ticket) -> HttpResponseBase:
        response = None
        try:
            response = self.get_response(request)
        finally:
            if response is not None and response.streaming:
                # The thread goes on with the stream, and so does its slot.
                closers: list[Callable[[], object]] = vars(response)["_resource_closers"]
                closers.append(lambda: self._end(ticket))
            else:
                self._end(ticket)
        return response

    def _end(self, ticket: Ticket) -> None:
        with self.control.lock:
            self.control.slots.leave(ticket)
        self.control.herd.served(ticket.kind)


def _headers(meta: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in meta.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower().encode(), value.encode("latin-1")
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield name.replace("_", "-").lower().encode(), str(value).encode("latin-1")


def _unchunked(request: HttpRequest, arrival: Arrival) -> Unread | None:
    """Gives a chunked body a length: Django takes one that says none for empty.

    Only where the server ends its input with the body (`wsgi.input_terminated`, as gunicorn does).
    """
    meta = request.META
    chunked = "HTTP_TRANSFER_ENCODING" in meta and not meta.get("CONTENT_LENGTH")
    if not chunked or not meta.get("wsgi.input_terminated"):
        return None
    try:
        content = meta["wsgi.input"].read(arrival.body_limit + 1)
    except OSError:
        return Unread.TOO_SLOW
    if len(content) > arrival.body_limit:
        return Unread.TOO_LARGE
    meta["CONTENT_LENGTH"] = str(len(content))
    vars(request)["_stream"] = BytesIO(content)
    return None


def _body(request: HttpRequest, arrival: Arrival) -> bytes | Unread:
    """What the policy looks into; Django keeps it for the view."""
    if announced_above(request.META.get("CONTENT_LENGTH") or "0", arrival.body_limit):
        return Unread.TOO_LARGE
    return request.body if arrival.policy.body_fields else b""


def _response(arrival: Arrival, answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status)
    for name, value in answer.headers + answers.added(arrival.request_id):
        response[name.decode()] = value.decode()
    return response
