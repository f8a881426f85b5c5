"""What a crowd does, and does not, write into the log."""

import logging

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path


def broken(request: HttpRequest) -> HttpResponse:
    raise ValueError("a view's mistake")


urlpatterns = [path("broken/", broken)]


@pytest.fixture(autouse=True)
def views(settings, client):
    settings.ROOT_URLCONF = "tests.stabilizer.test_logging"
    settings.MIDDLEWARE = []
    settings.DEBUG = False
    settings.TEMPLATES = []
    client.raise_request_exception = False


def test_a_request_that_is_refused_writes_no_line(client, caplog):
    assert client.get("/missing/").status_code == 404
    assert caplog.records == []


def test_a_mistake_of_ours_is_logged(client, caplog):
    assert client.get("/broken/").status_code == 500
    assert [(each.name, each.levelname) for each in caplog.records] == [("django.request", "ERROR")]


def test_suspicious_requests_are_logged():
    assert logging.getLogger("django.security").isEnabledFor(logging.WARNING)
