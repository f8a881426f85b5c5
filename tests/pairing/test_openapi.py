"""What the OpenAPI document says of pairing."""

import re
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, known in paths.items()
        for method, operation in known.items()
        if method in METHODS and ("/me/" not in path)
    }


def test_every_call_of_the_api_is_there(operations: dict[str, dict[str, Any]]):
    assert set(operations) >= {
        "POST /api/v1/pairings/",
        "GET /api/v1/pairings/{udid}/",
        "POST /api/v1/pairings/{udid}/renew/",
        "POST /api/v1/pairings/{udid}/credentials/",
        "POST /api/v1/pairings/{udid}/ack/",
        "POST /api/v1/pairings/associate/",
        "POST /api/v1/pairings/deny/",
        "GET /api/v1/devices/",
        "PATCH /api/v1/devices/{udid}/",
        "POST /api/v1/devices/{udid}/revoke/",
        "POST /api/v1/subscribers/{code}/devices/revoke/",
        "GET /api/v1/subscribers/",
        "GET /api/v1/subscribers/{code}/",
        "PUT /api/v1/subscribers/{code}/",
        "POST /oauth/device_authorization",
        "POST /oauth/token",
        "POST /oauth/revoke",
        "GET /.well-known/oauth-authorization-server",
    }


def test_every_call_says_what_it_does_answers_and_refuses(operations: dict[str, dict[str, Any]]):
    for name, operation in operations.items():
        assert operation["description"], name
        statuses = [int(status) for status in operation["responses"]]
        assert any(status < 300 for status in statuses), name
        assert any(status >= 400 for status in statuses) or "well-known" in name, name


def test_devices_identify_themselves_by_their_device_code(operations: dict[str, dict[str, Any]]):
    for name, operation in operations.items():
        by_device = "/pairings/{udid}/" in name
        assert (operation.get("security") == [{"device_code": []}]) == by_device, name


@pytest.mark.parametrize("call", ["renew", "credentials", "ack"])
def test_what_races_may_be_contended_which_is_our_fault(
    operations: dict[str, dict[str, Any]], call: str
):
    answers = operations[f"POST /api/v1/pairings/{{udid}}/{call}/"]["responses"]
    assert [status for status in answers if "`contended`" in answers[status]["description"]] == [
        "503"
    ]


def test_the_page_of_the_api_needs_no_other_host(client: Client):
    page = client.get("/api/docs/").content.decode()
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert any(address.endswith(".js") for address in addresses)
    for address in addresses:
        assert address.startswith("/static/"), address
        assert finders.find(address.removeprefix("/static/")), address
