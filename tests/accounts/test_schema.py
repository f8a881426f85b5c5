"""What the OpenAPI document says of identifying oneself."""

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return document


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "/api/v1/me/"), ("get", "/api/v1/devices/"), ("post", "/api/v1/pairings/associate/")],
)
def test_a_key_or_a_session_is_enough_and_not_both_are_needed(
    document: dict[str, Any], method: str, path: str
):
    assert document["paths"][path][method]["security"] == [{"bearer": []}, {"session": []}]


def test_no_call_needs_two_ways_at_once(document: dict[str, Any]):
    required = [
        requirement
        for path in document["paths"].values()
        for operation in path.values()
        for requirement in operation.get("security", ())
    ]
    assert len(required) > 10
    assert [requirement for requirement in required if len(requirement) > 1] == []


def test_each_way_is_described(document: dict[str, Any]):
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["session"]["in"]) == ("bearer", "cookie")
