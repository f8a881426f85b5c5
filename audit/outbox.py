"""Records of changes: committed with the change, then moved into the trail."""

from django.db import connection, transaction

from audit import entry, ingest, spool, statements
from audit.models import DeadLetter, Outbox

BATCH_ROWS = 500


class TransactionRequired(RuntimeError):
    """Raised to a caller whose change and record could come apart."""


def require_transaction() -> None:
    """Raises `TransactionRequired` outside of `transaction.atomic`."""
    if not connection.in_atomic_block:
        raise TransactionRequired("record_with_change() must be called inside transaction.atomic()")


def put(draft: entry.Draft) -> None:
    """Add the record to the transaction at work: one INSERT, without a round trip of its own."""
    entry_id, text = entry.encode(draft)
    row = Outbox(id=entry_id, producer=spool.shared().producer, entry=text)
    statements.insert(row, postponed=True)


def move() -> int:
    """Move up to `BATCH_ROWS` records into the trail; how many. Workers may do so at once."""
    with transaction.atomic():
        rows = list(Outbox.objects.select_for_update(skip_locked=True).order_by("id")[:BATCH_ROWS])
        letters = [ingest.Letter(row.entry, row.producer, "outbox") for row in rows]
        DeadLetter.objects.bulk_create(ingest.store(letters))
        _delete(rows)
    return len(rows)


def _delete(rows: list[Outbox]) -> None:
    # One key at a time: for a list of keys MariaDB may scan the table, and then waits for the locks
    # of every transaction that has a record of its own in there.
    key = connection.ops.quote_name("id")
    table = connection.ops.quote_name(Outbox._meta.db_table)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"DELETE FROM {table} WHERE {key} = %s",  # noqa: S608  names of ours
            [[Outbox._meta.pk.get_db_prep_value(row.pk, connection)] for row in rows],
        )
