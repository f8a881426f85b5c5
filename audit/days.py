"""The days of the trail: which one an event belongs to, and who may append to it."""

from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import connection

from audit import clock
from audit.chain import Link
from audit.models import Day

_EPOCH = date(1970, 1, 1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 24 * 3600 * 1000


def today() -> date:
    """The day in UTC."""
    return clock.now().date()


def of(event_id: str) -> date:
    """The UTC day on which an id (a UUIDv7 in hexadecimal digits) was made."""
    return _EPOCH + timedelta(days=int(event_id[:12], 16) // _DAY_MS)


def floor(day: date) -> str:
    """The smallest UUIDv7 of a day, in hexadecimal digits."""
    return first_id(datetime(day.year, day.month, day.day, tzinfo=UTC))


def first_id(moment: datetime) -> str:
    """The smallest UUIDv7 of a moment's millisecond (of 1970, if it is earlier), in hex digits."""
    since_ms = max(0, (moment - _BEGINNING) // timedelta(milliseconds=1))
    return f"{since_ms:012x}{7 << 76 | 1 << 63:020x}"


def oldest_open() -> date:
    """The first day that retention has not reached."""
    return today() - timedelta(days=settings.AUDIT_RETENTION_DAYS)


def lock(day: date) -> Day:
    """The day's row, locked until the caller's transaction ends; made if nothing happened yet."""
    row = Day.objects.select_for_update().filter(pk=day).first()
    if row is None:
        _make(day)
        row = Day.objects.select_for_update().get(pk=day)
    return row


def _make(day: date) -> None:
    # Two may find no row. The second waits here for the first, with the lock that it will need: an
    # INSERT IGNORE would share it with a third, and then each would wait for the other.
    quote = connection.ops.quote_name
    key = quote("day")
    mysql = connection.vendor == "mysql"
    keep = f"ON DUPLICATE KEY UPDATE {key} = {key}" if mysql else "ON CONFLICT DO NOTHING"
    fields = Day._meta.concrete_fields
    values = [field.get_db_prep_save(field.get_default(), connection) for field in fields[1:]]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(Day._meta.db_table)} ({columns}) VALUES ({marks}) {keep}",  # noqa: S608
            [day, *values],
        )


def move(day: Day, head: Link) -> None:
    """Move the head of a day that the caller has locked."""
    if head != day.head:
        Day.objects.filter(pk=day.pk).update(height=head.number, hash=head.hash)
