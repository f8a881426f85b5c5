"""Devices as the gate meets them: each a home, a network and three limits of its own."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

PATH = "/api/v1/pairings/"
#: Headers that the peers read their keys from; the gate finds the UDID in the body.
UDID = "x-device-udid"
FINGERPRINT = "x-device-fingerprint"


@dataclass(frozen=True)
class Device:
    """A device that asks for a code. Numbers up to 2^24 share no limit."""

    number: int

    @property
    def udid(self) -> str:
        return f"bench-device-{self.number:08d}"

    @property
    def fingerprint(self) -> str:
        return f"bench-fingerprint-{self.number:08d}"

    @property
    def address(self) -> str:
        """In a /24 of its own, which is what the gate counts as one network."""
        number = self.number
        return f"{11 + (number >> 16 & 127)}.{number >> 8 & 255}.{number & 255}.1"

    @cached_property
    def body(self) -> bytes:
        return json.dumps({"app_type": "tv", "udid": self.udid}).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (FINGERPRINT.encode(), self.fingerprint.encode()),
            (b"x-forwarded-for", self.address.encode()),
        ]

    def scope(self) -> dict[str, Any]:
        """The request as an ASGI server hands it over."""
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": self.headers,
            "client": ("127.0.0.1", 40_000),
            "server": ("127.0.0.1", 9000),
        }

    async def receive(self) -> dict[str, Any]:
        """The body as an ASGI server hands it over."""
        return {"type": "http.request", "body": self.body, "more_body": False}

    def request(self) -> bytes:
        """The request as it comes over the wire."""
        lines = [b"POST %s HTTP/1.1" % PATH.encode()]
        lines += [b"%s: %s" % header for header in self.headers]
        return b"\r\n".join([*lines, b"", self.body])
