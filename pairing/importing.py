"""Subscribers and smartcards from a file into a tenant, batch by batch, safe to repeat.

A batch reads what the database holds, decides in memory, and writes only what differs. What
somebody else stored meanwhile fails its unique constraints; the batch is then decided again, as it
is when the database rolled it back for somebody's lock.
"""

from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction

import audit
from accounts import keyring
from accounts.models import Tenant
from pairing import attempts, credentials, rows
from pairing.models import Smartcard, Subscriber
from pairing.subscriber_file import BadRow, Row

BATCH_ROWS = 2_000
ATTEMPTS = 3
CREDENTIALS = ("login1", "password", "pin", "packages")
#: What a later row of the same subscriber may add but not change.
FACTS = ("name", "state", *CREDENTIALS)


@dataclass(slots=True)
class Report:
    """What an import did, or would do. Each subscriber counts once, however many rows it has."""

    rows: int = 0
    created: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    smartcards: set[str] = field(default_factory=set)
    bad: list[BadRow] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {
            "rows": self.rows,
            "subscribers_created": len(self.created),
            "subscribers_changed": len(self.changed),
            "smartcards_created": len(self.smartcards),
            "bad_rows": len(self.bad),
        }


@dataclass(slots=True)
class _Batch:
    """What is known while one batch is decided. Keys are folded, as MariaDB compares them."""

    stored: dict[str, Subscriber]
    owners: ChainMap[str, tuple[str, str]]
    said: ChainMap[str, Row]
    new_cards: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def take(self, row: Row) -> None:
        """Accept the row, or note why not."""
        key = row.subscriber_code.casefold()
        refusal = self._refusal(row, key)
        if refusal:
            self.bad.append(BadRow(row.line, *refusal))
            return
        earlier = self.said.get(key)
        self.said[key] = _merged(earlier, row) if earlier else row
        if row.sn and row.sn.casefold() not in self.owners:
            self.owners[row.sn.casefold()] = (row.sn, key)
            self.new_cards.append(row)

    def _refusal(self, row: Row, key: str) -> tuple[str, str] | None:
        stored, earlier = self.stored.get(key), self.said.get(key)
        written = stored.code if stored else earlier.subscriber_code if earlier else None
        if written not in (None, row.subscriber_code):
            return "subscriber_code", "differs_in_case"
        if earlier and (fact := _conflict(earlier, row)):
            return fact, "conflicts_with_earlier_row"
        sn, owner = self.owners.get(row.sn.casefold(), (row.sn, key))
        if owner != key:
            return "sn", "belongs_to_another_subscriber"
        return None if sn == row.sn else ("sn", "differs_in_case")


class Import:
    """One file's way into `tenant`. With `dry_run` everything is decided and nothing is written."""

    def __init__(self, tenant: Tenant, *, dry_run: bool = False, actor: str = "") -> None:
        self.tenant = tenant
        self.dry_run = dry_run
        self.actor = actor
        self.report = Report()
        self._said: dict[str, Row] = {}
        self._owners: dict[str, tuple[str, str]] = {}

    def run(self, entries: Iterable[Row | BadRow]) -> Iterator[Report]:
        """Import all entries, yielding the report so far after each batch, which is then stored."""
        remaining = iter(entries)
        while batch := list(islice(remaining, BATCH_ROWS)):
            self.report.bad += [entry for entry in batch if isinstance(entry, BadRow)]
            self._store([entry for entry in batch if isinstance(entry, Row)])
            self.report.rows += len(batch)
            yield self.report

    def _store(self, rows: list[Row]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with transaction.atomic():
                    batch = self._decide(rows)
                    self._apply(batch)
                break
            except (IntegrityError, OperationalError) as error:
                repeatable = isinstance(error, IntegrityError) or attempts.retries(error)
                if attempt == ATTEMPTS or not repeatable:
                    raise
        self._said.update(batch.said.maps[0])
        self._owners.update(batch.owners.maps[0])
        self.report.bad += batch.bad
        self.report.smartcards.update(row.sn for row in batch.new_cards)

    def _decide(self, rows: list[Row]) -> _Batch:
        subscribers = Subscriber.objects.filter(
            tenant=self.tenant, code__in={row.subscriber_code for row in rows}
        )
        cards = Smartcard.objects.filter(
            tenant=self.tenant, sn__in={row.sn for row in rows if row.sn}
        ).values_list("sn", "subscriber__code")
        owners = {sn.casefold(): (sn, code.casefold()) for sn, code in cards}
        batch = _Batch(
            stored={subscriber.code.casefold(): subscriber for subscriber in subscribers},
            owners=ChainMap({}, owners, self._owners),
            said=ChainMap({}, self._said),
        )
        for row in rows:
            batch.take(row)
        return batch

    def _apply(self, batch: _Batch) -> None:
        """Write what differs, or only count it in a dry run."""
        created, changed = [], []
        for key, row in batch.said.maps[0].items():
            subscriber = batch.stored.get(key)
            if subscriber is None:
                batch.stored[key] = subscriber = Subscriber(
                    tenant_id=self.tenant.pk, code=row.subscriber_code
                )
                _bring_up_to_date(subscriber, row)
                created.append(subscriber)
            elif _bring_up_to_date(subscriber, row):
                changed.append(subscriber)
        if not self.dry_run:
            self._write(batch, created, changed)
        self.report.created.update(subscriber.code for subscriber in created)
        self.report.changed.update(
            subscriber.code for subscriber in changed if subscriber.code not in self.report.created
        )

    def _write(self, batch: _Batch, created: list[Subscriber], changed: list[Subscriber]) -> None:
        Subscriber.objects.bulk_create(created)
        _overwrite(changed)
        Smartcard.objects.bulk_create(
            Smartcard(
                tenant_id=self.tenant.pk,
                subscriber_id=batch.stored[row.subscriber_code.casefold()].pk,
                sn=row.sn,
            )
            for row in batch.new_cards
        )
        with_cards = [batch.stored[row.subscriber_code.casefold()] for row in batch.new_cards]
        rows.changed(self.tenant.pk, (each.code for each in (*changed, *with_cards)))
        if created or changed or batch.new_cards:
            audit.record_with_change(
                "subscribers.imported",
                actor=self.actor,
                tenant=self.tenant.slug,
                detail={
                    "subscribers_created": len(created),
                    "subscribers_changed": len(changed),
                    "smartcards_created": len(batch.new_cards),
                },
            )


def _overwrite(subscribers: list[Subscriber]) -> None:
    targets = connection.features.supports_update_conflicts_with_target
    Subscriber.objects.bulk_create(
        subscribers,
        update_conflicts=True,
        update_fields=["name", "state", "sealed_credentials"],
        unique_fields=["id"] if targets else None,
    )


def _bring_up_to_date(subscriber: Subscriber, row: Row) -> bool:
    """Put what the row says into the subscriber; whether that changed anything."""
    before = (subscriber.name, subscriber.state, subscriber.sealed_credentials)
    subscriber.name = row.name or subscriber.name
    subscriber.state = row.state or subscriber.state
    told = {name: getattr(row, name) for name in CREDENTIALS if getattr(row, name)}
    if row.packages:
        told["packages"] = list(row.packages)
    if told:
        _reseal(subscriber, told)
    return before != (subscriber.name, subscriber.state, subscriber.sealed_credentials)


def _reseal(subscriber: Subscriber, told: dict[str, Any]) -> None:
    """Seal anew only if something differs: the same secrets never look the same sealed."""
    place = subscriber.tenant_id, subscriber.code
    try:
        known = credentials.unseal(*place, subscriber.sealed_credentials)
    except keyring.CannotOpen:
        known = {}
    if known | told != known:
        subscriber.sealed_credentials = credentials.seal(*place, known | told)


def _merged(earlier: Row, later: Row) -> Row:
    said: dict[str, Any] = {fact: getattr(later, fact) for fact in FACTS if getattr(later, fact)}
    return replace(earlier, **said)


def _conflict(earlier: Row, later: Row) -> str | None:
    """The first fact that both rows state, differently."""
    for fact in FACTS:
        before, after = getattr(earlier, fact), getattr(later, fact)
        if before and after and before != after:
            return fact
    return None
