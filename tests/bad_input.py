"""Bad input for any endpoint that takes a JSON object (fault 24).

    ENDPOINT = Endpoint("POST", "/api/v1/things/", {"name": "x"}, headers={...})

    @pytest.mark.parametrize("bad", unreadable(ENDPOINT), ids=str)
    def test_...(bad):
        check_refused(client, ENDPOINT, bad)

`unreadable` and `mistyped` must be refused with the status and code they carry. `hostile` are texts
of the right type in every field: they may be refused or taken, but never break anything and never
come back as markup.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

HOSTILE_TEXTS = {
    "sql": "' OR 1=1; DROP TABLE accounts_user; --",
    "sql_comment": "x'/**/UNION/**/SELECT/**/password--",
    "like": "%_\\",
    "html": '<script>alert("x")</script>&<img src=x onerror=alert(1)>',
    "template": "{{7*7}}${7*7}#{7*7}",
    "path": "../../../../etc/passwd",
    "line_breaks": "a\r\nSet-Cookie: x=1",
    "right_to_left": "\u202egnp.exe",
    "emoji": "\U0001f4fa" * 10,
    "empty": "",
    "spaces": "   ",
    "long": "A" * 10_000,
}
WRONG_TYPES: Mapping[str, Any] = {
    "number": 7,
    "float": 1.5,
    "true": True,
    "list": ["x"],
    "object": {"$gt": ""},
}
WRONG_MEDIA_TYPES = (
    "text/plain",
    "text/html",
    "application/xml",
    "application/json-seq",
    "multipart/form-data; boundary=x",
    "nonsense",
)


@dataclass(frozen=True)
class Endpoint:
    """One call that takes a JSON object; `valid` is a body it would understand."""

    method: str
    path: str
    valid: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class BadBody:
    """A body, and the refusal it must meet; `status` 0 leaves that open."""

    name: str
    body: bytes
    status: int = 0
    code: str = ""
    content_type: str = "application/json"

    def __str__(self) -> str:
        return self.name


def unreadable(endpoint: Endpoint) -> list[BadBody]:
    """Bodies that are refused before anybody looks at their fields."""
    valid = json.dumps(endpoint.valid).encode()
    name = next(iter(endpoint.valid), "x").encode()
    deep = 10_000
    malformed = {
        "cut": valid[:-1],
        "text_behind": valid + b"x",
        "two_objects": valid + valid,
        "single_quotes": b"{'x': 1}",
        "list": b"[" + valid + b"]",
        "text": b'"x"',
        "number": b"7",
        "null": b"null",
        "deep_lists": b'{"x":' + b"[" * deep + b"]" * deep + b"}",
        "deep_objects": b'{"x":' * deep + b"1" + b"}" * deep,
        "unclosed": b'{"x":' + b"[" * deep,
        "duplicate": b'{"%s": "a", "%s": "b"}' % (name, name),
        "nested_duplicate": b'{"%s": {"a": 1, "a": 2}}' % name,
        "nan": b'{"%s": NaN}' % name,
        "infinity": b'{"%s": -Infinity}' % name,
        "huge_float": b'{"%s": 1e999}' % name,
        "huge_integer": b'{"%s": %s}' % (name, b"9" * 5000),
        "latin_1": '{"x": "é"}'.encode("latin-1"),
        "utf_16": json.dumps(endpoint.valid).encode("utf-16"),
        "byte_order_mark": b"\xef\xbb\xbf" + valid,
        "overlong": b'{"x": "\xc0\xaf"}',
        "nul": b'{"%s": "a\\u0000b"}' % name,
        "raw_nul": b'{"%s": "a\x00b"}' % name,
        "nul_in_name": b'{"a\\u0000": 1}',
        "lone_surrogate": b'{"%s": "\\ud800"}' % name,
        "quotes": b'{"%s": "' % name + b'\\"' * 30_000,
    }
    unknown = json.dumps({**endpoint.valid, "<b>isAdmin</b>": True}).encode()
    return [
        *(BadBody(what, body, 400, "malformed") for what, body in malformed.items()),
        *(BadBody(kind, valid, 415, "unsupported_media_type", kind) for kind in WRONG_MEDIA_TYPES),
        BadBody("huge", b'{"x": "' + b"A" * 100_000 + b'"}', 413, "too_large"),
        BadBody("unknown_field", unknown, 400, "unknown_field"),
    ]


def mistyped(endpoint: Endpoint) -> list[BadBody]:
    """Every text field with a value of another JSON type."""
    return [
        BadBody(f"{name}={what}", with_value(endpoint, name, wrong), 400, "invalid")
        for name in text_fields(endpoint)
        for what, wrong in WRONG_TYPES.items()
    ]


def hostile(endpoint: Endpoint) -> list[BadBody]:
    """Every text field with a text that means something to a database, a browser or a shell."""
    return [
        BadBody(f"{name}={what}", with_value(endpoint, name, text))
        for name in text_fields(endpoint)
        for what, text in HOSTILE_TEXTS.items()
    ]


def text_fields(endpoint: Endpoint) -> list[str]:
    return [name for name, value in endpoint.valid.items() if isinstance(value, str)]


def with_value(endpoint: Endpoint, name: str, value: object) -> bytes:
    return json.dumps({**endpoint.valid, name: value}).encode()


def check_refused(client: Client, endpoint: Endpoint, bad: BadBody) -> Any:
    """Send `bad`; the answer must be its refusal, as a problem, with no markup in it."""
    response = send(client, endpoint, bad)
    told = response.json() if response["Content-Type"].endswith("json") else response.content[:500]
    assert response.status_code == (bad.status or response.status_code), told
    assert response.status_code < 500, told
    if response.status_code >= 400:
        assert response["Content-Type"] == "application/problem+json"
        assert told["status"] == response.status_code
        assert told["code"] == (bad.code or told["code"])
    assert b"<" not in response.content
    assert "Set-Cookie" not in response.headers
    return response


def send(client: Client, endpoint: Endpoint, bad: BadBody) -> Any:
    return client.generic(
        endpoint.method,
        endpoint.path,
        bad.body,
        content_type=bad.content_type,
        headers=dict(endpoint.headers),
    )
