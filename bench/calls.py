"""Calls of the product as clients make them: `python -m bench.calls`.

Reads {"key", "devices", "critical", "normal", "sheddable"}: an operator's key, how many devices he
has, and how many calls of each sort are wanted. Answers the requests by sort: devices that collect
what was approved for them and others that acknowledge it, devices that ask for a code, and an
operator who lists devices. Each of the devices asks once, so that no limit is met.
"""

import json
import os
import secrets
import sys
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from bench.devices import Device  # noqa: E402
from bench.owned import owned  # noqa: E402
from pairing.models import State  # noqa: E402
from stabilizer.stampede import connection  # noqa: E402

CREATE, LIST = "/api/v1/pairings/", "/api/v1/devices/"


def main() -> None:
    given = json.load(sys.stdin)
    owned(given["devices"], State.ACKNOWLEDGED)
    half = -(-given["critical"] // 2)
    ready = zip(owned(half, State.APPROVED), owned(half, State.DELIVERED), strict=True)
    run = secrets.token_hex(4)
    sorts = {
        "critical": [
            request("POST", f"{CREATE}{udid}/{act}/", number, code)
            for number, both in enumerate(ready)
            for act, (udid, code) in zip(("credentials", "ack"), both, strict=True)
        ],
        "normal": [
            request("POST", CREATE, number, body=_wishes(f"bench-{run}-{number:06}"))
            for number in range(given["normal"])
        ],
        "sheddable": [request("GET", LIST, 0, given["key"])],
    }
    json.dump(sorts, sys.stdout)


def _wishes(udid: str) -> dict[str, Any]:
    return {"app_type": "tv", "udid": udid, "model": "OLED55C3"}


def request(
    method: str, path: str, number: int, bearer: str = "", body: dict[str, Any] | None = None
) -> str:
    """As it comes over the wire, from a network of its own for each number up to 2^23."""
    headers = {"Host": "127.0.0.1", "X-Forwarded-For": Device(number).address}
    return connection.request(method, path, headers, bearer=bearer, body=body).decode()


if __name__ == "__main__":
    main()
