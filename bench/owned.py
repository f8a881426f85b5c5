"""Pairings of devices that belong to somebody, put straight into the tables. Django is set up."""

import secrets
from collections.abc import Iterator
from datetime import timedelta

from accounts.models import Client
from audit import clock
from pairing import device_code, user_code
from pairing.models import Pairing, Smartcard, State, Subscriber

LIVES = timedelta(hours=2)
BATCH = 1_000


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
                name=f"Living room {card.sn}",
                model="OLED55C3",
                os="webOS 23",
                device_code_digest=device_code.digest(code),
                user_code=typed,
                subscriber_id=card.subscriber_id,
                smartcard=card,
                active_smartcard=card,
                expires_at=now + LIVES,
                approved_at=now,
                acknowledged_at=now if state is State.ACKNOWLEDGED else None,
            )
            for card, code, typed in zip(cards, codes, _unused(count), strict=True)
        ),
        batch_size=BATCH,
    )
    return list(zip(names, codes, strict=True))


def _unused(count: int) -> Iterator[str]:
    """`count` user codes that no pairing has: of 100,000 drawn at random two may be the same."""
    known = set(Pairing.objects.values_list("user_code", flat=True))
    for _ in range(count):
        while (code := user_code.mint()) in known:
            pass
        known.add(code)
        yield code
