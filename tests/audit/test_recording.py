from threading import Barrier, Thread

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpResponse
from django.test import RequestFactory

import audit
from audit import outbox, registry, spool
from audit.context import RequestContextMiddleware
from audit.models import Event


@pytest.mark.django_db
def test_recording_in_a_request_makes_no_query(rf: RequestFactory, django_assert_num_queries):
    def view(request):
        audit.record("gate.refused", "limited", subject="tv-1")
        return HttpResponse()

    with django_assert_num_queries(0):
        RequestContextMiddleware(view)(rf.get("/"))


@pytest.mark.django_db(transaction=True)
def test_a_record_reaches_the_trail_with_its_request(rf: RequestFactory, deliver):
    class Admission:
        request_id, decision_id = "request-1", "decision-1"

    def view(request):
        audit.record("pairing.created", subject="tv-1", subject_version=3, tenant="demo")
        return HttpResponse()

    request = rf.get("/", HTTP_USER_AGENT="TV/1", REMOTE_ADDR="203.0.113.9")
    request.META["stabilizer.admission"] = Admission()
    RequestContextMiddleware(view)(request)
    producer = spool.shared().producer
    deliver()
    event = Event.objects.get()
    assert (event.request_id, event.decision_id) == ("request-1", "decision-1")
    assert (event.address, event.user_agent) == ("203.0.113.9", "TV/1")
    assert (event.subject, event.subject_version, event.tenant) == ("tv-1", 3, "demo")
    assert event.producer == producer


@pytest.mark.django_db(transaction=True)
def test_eight_threads_with_a_thousand_records_each_lose_and_double_none(deliver):
    start = Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for number in range(1000):
            audit.record("gate.refused", subject=f"{thread}/{number}")

    threads = [Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver()
    subjects = list(Event.objects.values_list("subject", flat=True))
    assert len(subjects) == 8000
    assert set(subjects) == {f"{thread}/{n}" for thread in range(8) for n in range(1000)}


def test_nothing_is_raised_when_the_spool_cannot_be_written(settings, tmp_path, caplog):
    (tmp_path / "file").touch()
    settings.AUDIT_SPOOL_DIR = tmp_path / "file" / "spool"
    audit.record("gate.refused")
    audit.record("gate.refused")
    assert spool.shared().suppressed == 2
    assert "records are suppressed, changes refused" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_an_action_that_is_not_registered_is_an_error_while_testing(settings):
    settings.AUDIT_STRICT = True
    with pytest.raises(registry.UnknownAction, match=r"pairing\.exploded"):
        audit.record("pairing.exploded")
    with pytest.raises(registry.UnknownAction):
        audit.record("pairing.approved")  # a change, not a report


@pytest.mark.django_db(transaction=True)
def test_in_production_an_unregistered_action_is_recorded_as_a_warning(settings, deliver):
    settings.AUDIT_STRICT = False
    audit.record("pairing.exploded")
    deliver()
    assert Event.objects.get().severity == "warning"


@pytest.mark.django_db(transaction=True)
def test_a_change_outside_of_a_transaction_is_refused():
    with pytest.raises(outbox.TransactionRequired):
        audit.record_with_change("pairing.approved", subject="tv-1")


@pytest.mark.django_db(transaction=True)
def test_a_change_is_refused_while_its_record_could_not_be_kept(settings, tmp_path):
    @transaction.atomic
    def change() -> None:
        Group.objects.create(name="operators")
        audit.record_with_change("key.created", subject="key-1")

    (tmp_path / "file").touch()
    settings.AUDIT_SPOOL_DIR = tmp_path / "file" / "spool"
    with pytest.raises(audit.AuditUnavailable):
        change()
    assert not Group.objects.exists()
