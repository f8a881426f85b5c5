"""The same gate as Django middleware, for WSGI."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from ratelimit import pressures
from ratelimit.gcra import Limit
from stabilizer.gate.arrival import ADMISSION
from stabilizer.gate.control import Control
from stabilizer.gate.policy import DEFAULTS, ONLY_SHEDDABLE, Rule
from stabilizer.gate.wsgi import GateMiddleware

BODY = {"content_type": "application/json"}


class Views:
    """Stands for Django behind the middleware."""

    def __init__(self):
        self.requests = []
        self.status = 200
        self.open = threading.Event()
        self.open.set()
        self.stream = None
        self.error = None

    def __call__(self, request):
        self.requests.append(request)
        assert self.open.wait(5)
        if self.error:
            raise self.error
        return self.stream or HttpResponse(b"served", status=self.status)


@pytest.fixture
def views():
    return Views()


@pytest.fixture
def gate(views, limiter):
    control = Control(limiter, threads=16, configure=lambda: None)
    yield GateMiddleware(views, control)
    control.stop_now()


@pytest.fixture
def few(policies_in_force):
    rule = Rule(Limit("few", 2, 3600), ("network",), "default.few")
    policies_in_force.swap(
        {**DEFAULTS, "default": replace(DEFAULTS["default"], rules=(rule,), wait_ms=50)}
    )


@pytest.fixture
def ask(rf: RequestFactory, gate):
    def ask(method="GET", path="/", data=b"", **headers):
        return gate(rf.generic(method, path, data, **{"content_type": "text/plain", **headers}))

    return ask


def test_the_answers_are_those_of_the_asgi_gate(ask, few, views):
    admitted = [ask() for _ in range(2)]
    refused = ask()
    assert [each.status_code for each in (*admitted, refused)] == [200, 200, 429]
    assert admitted[0]["RateLimit"] == '"few";r=1;t=1800'
    assert len(admitted[0]["X-Request-ID"]) == 32
    assert refused["Content-Type"] == "application/problem+json"
    assert refused["Retry-After"] == "1800"
    assert refused["Cache-Control"] == "no-store"
    assert b'"violated-policies":["few"]' in refused.content
    assert len(views.requests) == 2


def test_a_browser_is_refused_with_a_page(ask, few):
    refused = [ask(HTTP_ACCEPT="text/html,*/*;q=0.8") for _ in range(3)][-1]
    assert (refused.status_code, refused["Retry-After"]) == (429, "1800")
    assert refused["Content-Type"] == "text/html; charset=utf-8"
    assert b'<meta http-equiv="refresh" content="1800">' in refused.content
    with_json = ask(HTTP_ACCEPT="application/json")
    assert with_json["Content-Type"] == "application/problem+json"


def test_refusals_make_no_query(ask, few, django_assert_num_queries, db):
    for _ in range(2):
        ask()
    with django_assert_num_queries(0):
        assert {ask().status_code for _ in range(20)} == {429}
        assert ask(HTTP_ACCEPT="text/html").status_code == 429
        forged = "Bearer dc_1_" + "A" * 43 + "_" + "B" * 22
        assert ask("POST", "/api/v1/pairings/U/ack/", HTTP_AUTHORIZATION=forged).status_code == 401


def test_views_see_the_admission_and_the_clients_address(views, limiter, rf, settings):
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    control = Control(limiter, threads=16, configure=lambda: None)
    GateMiddleware(views, control)(
        rf.get("/", HTTP_X_FORWARDED_FOR="203.0.113.7", HTTP_X_FORWARDED_PROTO="https")
    )
    control.stop_now()
    (request,) = views.requests
    assert request.META["REMOTE_ADDR"] == "203.0.113.7"
    assert request.META[ADMISSION].address == "203.0.113.7"
    assert request.scheme == "https"


def test_without_a_slot_the_wait_ends_at_the_deadline(ask, gate, few, views):
    gate.control.start_now()
    gate.control.slots.resize(0)
    assert ask().status_code == 503
    assert [ask().status_code for _ in range(3)] == [503] * 3
    assert views.requests == []


def test_a_body_too_large_to_look_into_is_refused(ask, views, known):
    reply = ask("POST", "/api/v1/pairings/", b"x" * 65_537, **BODY)
    assert reply.status_code == 413
    assert views.requests == []


def test_the_view_reads_the_body_that_the_gate_has_read(ask, views, known):
    assert ask("POST", "/api/v1/pairings/", b'{"udid": "A"}', **BODY).status_code == 200
    assert views.requests[0].body == b'{"udid": "A"}'


@pytest.fixture
def chunked(rf: RequestFactory, gate):
    """Posts to create a pairing as gunicorn hands a chunked request on."""

    def chunked(body):
        request = rf.post("/api/v1/pairings/", HTTP_TRANSFER_ENCODING="chunked", **BODY)
        environ = {**request.META, "wsgi.input": body, "wsgi.input_terminated": True}
        del environ["CONTENT_LENGTH"]
        return gate(WSGIRequest(environ))

    return chunked


def test_a_chunked_body_is_read_and_the_view_learns_its_length(chunked, views, known):
    assert chunked(BytesIO(b'{"udid": "A"}')).status_code == 200
    (request,) = views.requests
    assert (request.body, request.META["CONTENT_LENGTH"]) == (b'{"udid": "A"}', "13")


def test_a_chunked_body_that_breaks_off_is_refused(chunked, views):
    class Broken(BytesIO):
        def read(self, size=-1):
            raise OSError("no more data")

    assert chunked(Broken()).status_code == 408
    assert views.requests == []


def test_a_chunked_body_is_bounded(chunked, views, known):
    assert chunked(BytesIO(b"x" * 65_537)).status_code == 413
    assert views.requests == []


def test_only_a_failed_login_costs(ask, views):
    form = {"content_type": "application/x-www-form-urlencoded"}
    views.status = 302
    for _ in range(9):
        assert ask("POST", "/accounts/login/", b"username=admin", **form).status_code == 302
    views.status = 401
    statuses = [
        ask("POST", "/accounts/login/", b"username=admin", **form).status_code for _ in range(6)
    ]
    assert statuses == [401] * 5 + [429]


@pytest.mark.django_db
def test_a_stream_holds_its_slot_until_it_is_closed(ask, gate, views):
    views.stream = StreamingHttpResponse([b"a", b"b"])
    reply = ask()
    assert gate.control.slots.in_use == 1
    reply.close()
    assert gate.control.slots.in_use == 0


def test_a_view_that_fails_gives_its_slot_back(ask, gate, views):
    views.error = RuntimeError("boom")
    with pytest.raises(RuntimeError):
        ask()
    assert gate.control.slots.in_use == 0


def test_many_threads_share_the_slots_and_none_is_lost(ask, gate, views):
    gate.control.start_now()
    gate.control.slots.resize(4)
    most, lock, inside = 0, threading.Lock(), 0

    def view(request):
        nonlocal most, inside
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.001)
        with lock:
            inside -= 1
        return HttpResponse()

    gate.get_response = view
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda _: ask().status_code, range(400)))
    assert set(replies) == {200}
    assert most <= gate.control.slots.limit
    assert (gate.control.slots.in_use, gate.control.slots.waiting) == (0, 0)


def test_under_pressure_the_same_are_refused_and_the_view_is_told_the_level(
    ask, gate, views, monkeypatch
):
    pressure = gate.control.pressure
    monkeypatch.setattr(pressure, "_look", lambda: False)
    pressure.level, pressure.refuses_below = 2, ONLY_SHEDDABLE
    refused = ask(path="/api/v1/devices/")
    assert (refused.status_code, b'"code":"overloaded"' in refused.content) == (503, True)
    assert int(refused["Retry-After"]) >= 1
    assert ask(path="/api/v1/me/").status_code == ask(path="/admin/").status_code == 200
    assert [request.pressure for request in views.requests] == [2, 2]


def test_threads_look_at_the_pressure_too_and_end_with_the_process(ask, gate, store):
    ask()
    watches = list(gate.control._watching)
    assert [watch.name for watch in watches] == ["breakers", "pressure"]
    gate.control.stop_now()
    assert not any(watch.is_alive() for watch in watches)
    assert pressures.fleet_level(store) == 0
