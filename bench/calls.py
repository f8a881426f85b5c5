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
from datetime import timedelta
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from accounts.models import Client  # noqa: E402
from audit import clock  # noqa: E402
from bench.devices import Device  # noqa: E402
from pairing import device_code, user_code  # noqa: E402
from pairing.models import Pairing, Smartcard, State, Subscriber  # noqa: E402

LIVES = timedelta(hours=2)
BATCH = 1_000
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
            request("POST", CREATE, number, body=json.dumps(_wishes(f"bench-{run}-{number:06}")))
            for number in range(given["normal"])
        ],
        "sheddable": [request("GET", LIST, 0, given["key"])],
    }
    json.dump(sorts, sys.stdout)


def owned(count: int, state: State) -> list[tuple[str, str]]:
    """So many new pairings in `state`, each on a card of its own: UDID and device_code of each."""
    client, run, now = Client.objects.get(), secrets.token_hex(4), clock.now()
    names = [f"bench-{run}-{number:06}" for number in range(count)]
    Subscriber.objects.bulk_create(
        (Subscriber(tenant_id=client.tenant_id, code=name) for name in names), batch_size=BATCH
    )
    owners = Subscriber.objects.filter(code__startswith=f"bench-{run}").order_by("code")
    Smartcard.objects.bulk_create(
        (Smartcard(tenant_id=client.tenant_id, subscriber=one, sn=one.code) for one in owners),
        batch_size=BATCH,
    )
    cards = Smartcard.objects.filter(sn__startswith=f"bench-{run}").order_by("sn")
    codes = [device_code.mint(client.tenant_id) for _ in names]
    Pairing.objects.bulk_create(
        (
            Pairing(
                tenant_id=client.tenant_id,
                client=client,
                state=state,
                udid=card.sn,
                active_udid=card.sn,
                app_type="bench",
                model="OLED55C3",
                os="webOS 23",
                device_code_digest=device_code.digest(code),
                user_code=user_code.mint(),
                subscriber_id=card.subscriber_id,
                smartcard=card,
                active_smartcard=card,
                expires_at=now + LIVES,
                approved_at=now,
                acknowledged_at=now if state is State.ACKNOWLEDGED else None,
            )
            for card, code in zip(cards, codes, strict=True)
        ),
        batch_size=BATCH,
    )
    return list(zip(names, codes, strict=True))


def _wishes(udid: str) -> dict[str, Any]:
    return {"app_type": "tv", "udid": udid, "model": "OLED55C3"}


def request(method: str, path: str, number: int, bearer: str = "", body: str = "") -> str:
    """As it comes over the wire, from a network of its own for each number up to 2^23."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Forwarded-For: {Device(number).address}",
        f"Content-Length: {len(body)}",
    ]
    if bearer:
        lines.append(f"Authorization: Bearer {bearer}")
    if body:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", body])


if __name__ == "__main__":
    main()
