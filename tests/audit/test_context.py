from django.http import HttpResponse
from django.test import RequestFactory

from audit import context
from audit.context import RequestContext, RequestContextMiddleware


class Admission:
    request_id, decision_id = "request-1", "decision-1"


def seen(request) -> RequestContext:
    found = []

    def view(request):
        found.append(context.current())
        return HttpResponse()

    RequestContextMiddleware(view)(request)
    return found[0]


def test_without_a_gate_a_request_gets_an_id_of_its_own(rf: RequestFactory):
    first, second = seen(rf.get("/")), seen(rf.get("/"))
    assert first.request_id != second.request_id
    assert first.decision_id == ""


def test_behind_the_gate_the_ids_are_the_gates(rf: RequestFactory):
    request = rf.get("/")
    request.scope = {"stabilizer.admission": Admission()}  # type: ignore[attr-defined]
    assert seen(request)[:2] == ("request-1", "decision-1")


def test_a_client_cannot_choose_its_request_id_or_address(rf: RequestFactory):
    forged = seen(rf.get("/", headers={"X-Request-ID": "mine", "X-Forwarded-For": "10.0.0.1"}))
    assert forged.request_id != "mine"
    assert forged.address == "127.0.0.1"


def test_after_the_request_nothing_of_it_remains(rf: RequestFactory):
    seen(rf.get("/"))
    assert context.current() == RequestContext()
