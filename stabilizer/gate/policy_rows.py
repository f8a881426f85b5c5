"""The policies' rows in the database: what admins have made of the numbers in the code."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from ratelimit.gcra import SECOND_US, Limit
from stabilizer.gate.policy import DEFAULTS, Criticality, Policy, Rule, StoreAway

if TYPE_CHECKING:
    from ratelimit.draft import Draft
    from ratelimit.models import PolicyRow


def _owners() -> Mapping[str, Policy]:
    """The policy under whose row a counter's numbers are kept: the first that counts with it."""
    owners: dict[str, Policy] = {}
    for policy in DEFAULTS.values():
        for rule in policy.rules:
            owners.setdefault(rule.counter, policy)
    return owners


def read(drafts: "Iterable[Draft]" = ()) -> Mapping[str, Policy]:
    """The defaults, with the numbers that admins have given them, and those of `drafts` in them."""
    from ratelimit.models import PolicyRow

    rows = {row.name: row for row in PolicyRow.objects.prefetch_related("limits")}
    for draft in drafts:
        row = rows[draft.policy]
        draft.put_on(row, {limit.name: limit for limit in row.limits.all()})
    given = {(row.name, limit.name): limit for row in rows.values() for limit in row.limits.all()}
    numbers = {
        counter: (limit.quantity, limit.window_s)
        for counter, owner in _owners().items()
        if (limit := given.get((owner.name, counter.rpartition(".")[2])))
    }
    return MappingProxyType(
        {name: _overridden(policy, rows.get(name), numbers) for name, policy in DEFAULTS.items()}
    )


def _overridden(
    policy: Policy, row: "PolicyRow | None", numbers: Mapping[str, tuple[int, int]]
) -> Policy:
    if row is not None:
        policy = replace(
            policy,
            criticality=cast(Criticality, row.criticality),
            weight=max(1, row.weight),
            wait_ms=row.wait_ms,
            store_away=cast(StoreAway, row.store_away),
        )
    return replace(
        policy,
        wait_ms=min(policy.wait_ms, settings.GATE_QUEUE_WAIT_MS),
        rules=tuple(
            replace(rule, limit=_limit(rule, policy.store_away, numbers)) for rule in policy.rules
        ),
    )


def _limit(rule: Rule, store_away: StoreAway, numbers: Mapping[str, tuple[int, int]]) -> Limit:
    quantity, window_s = numbers.get(rule.counter, (rule.limit.quantity, rule.limit.window_s))
    return replace(
        rule.limit,
        quantity=min(quantity, window_s * SECOND_US),
        window_s=window_s,
        store_away=store_away,
    )


def ensure(using: str = DEFAULT_DB_ALIAS, **_: object) -> None:
    """A row, for admins to edit, of every policy and limit that has none. Runs after `migrate`."""
    if "ratelimit_limitrow" not in connections[using].introspection.table_names():
        return  # migrated backwards
    from ratelimit.models import LimitRow, PolicyRow

    PolicyRow.objects.bulk_create(
        [_row(policy) for policy in DEFAULTS.values()], ignore_conflicts=True
    )
    rows = {row.name: row for row in PolicyRow.objects.all()}
    LimitRow.objects.bulk_create(
        [
            LimitRow(
                policy=rows[owner.name],
                name=rule.limit.name,
                quantity=rule.limit.quantity,
                window_s=rule.limit.window_s,
            )
            for counter, owner in _owners().items()
            for rule in owner.rules
            if rule.counter == counter
        ],
        ignore_conflicts=True,
    )


def _row(policy: Policy) -> "PolicyRow":
    from ratelimit.models import PolicyRow

    return PolicyRow(
        name=policy.name,
        criticality=policy.criticality,
        weight=policy.weight,
        wait_ms=policy.wait_ms,
        store_away=policy.store_away,
    )
