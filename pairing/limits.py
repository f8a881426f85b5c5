"""The limits that pairing itself counts, with the numbers admins have given them.

The gate counts what it can see in a request; whether a code was wrong, and when a device polled
last, only pairing knows.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pairing.lifetimes import INTERVAL_S
from ratelimit.gcra import Limit

ASSOCIATE, STATUS = "pairing.associate", "pairing.status"
INTERVAL = "interval"
WRONG = "wrong_codes."
DEFAULTS: Mapping[str, tuple[str, Limit]] = MappingProxyType(
    {
        limit.name: (policy, limit)
        for policy, limit in (
            (ASSOCIATE, Limit(f"{WRONG}person", 5, 900, refundable=True)),
            (ASSOCIATE, Limit(f"{WRONG}key", 100, 900, refundable=True)),
            (ASSOCIATE, Limit(f"{WRONG}network", 30, 900, refundable=True)),
            (STATUS, Limit(INTERVAL, 1, INTERVAL_S)),
        )
    }
)
_current: Mapping[str, Limit] = MappingProxyType(
    {name: limit for name, (_, limit) in DEFAULTS.items()}
)


def current(name: str) -> Limit:
    """The limit in force. No query: `reload` follows the configuration's revision."""
    return _current[name]


def reload() -> None:
    """Read the numbers that admins have given."""
    from ratelimit.models import LimitRow

    global _current
    rows = LimitRow.objects.filter(policy__name__in=(ASSOCIATE, STATUS), name__in=DEFAULTS)
    numbers = {row.name: (row.quantity, row.window_s) for row in rows}
    _current = MappingProxyType(
        {
            name: Limit(
                name,
                *numbers.get(name, (limit.quantity, limit.window_s)),
                refundable=limit.refundable,
            )
            for name, (_, limit) in DEFAULTS.items()
        }
    )


def ensure_rows(**_: Any) -> None:
    """A row for every limit whose policy has one: what admins edit. Runs after `migrate`."""
    from ratelimit.models import LimitRow, PolicyRow

    policies = {row.name: row for row in PolicyRow.objects.filter(name__in=(ASSOCIATE, STATUS))}
    for name, (policy, limit) in DEFAULTS.items():
        if policy in policies:
            LimitRow.objects.get_or_create(
                policy=policies[policy],
                name=name,
                defaults={"quantity": limit.quantity, "window_s": limit.window_s},
            )
