"""A partition for each day on MariaDB, so that a day is dropped in the time that a file takes.

`RANGE COLUMNS(id)` on the smallest UUIDv7 of each day: the key stays one column, as the admin wants
it, and an event that comes twice meets itself. The manual does not list `uuid` among the types for
RANGE COLUMNS; `tests/audit/test_partitions.py` holds that it works. SQLite has no partitions.
"""

import logging
import random
import re
import time
from collections.abc import Callable
from datetime import date, timedelta

from django.db import OperationalError, connection

from audit import days
from audit.models import Event

logger = logging.getLogger(__name__)

#: Days for which a partition is made ahead: so long may nobody look after the trail.
AHEAD_DAYS = 14
#: What is older than the first day's partition, and what is newer than the last's: both are empty.
OLDEST, NEWEST = "pmin", "pmax"
_TABLE = Event._meta.db_table
_NAME = re.compile(r"p(\d{4})(\d{2})(\d{2})")
#: MariaDB's lock wait time-out, which NOWAIT raises at once.
_LOCKED = 1205
TRIES = 20


class Busy(Exception):
    """A reader or writer held the table at each try. Nothing was changed."""


def are_used() -> bool:
    return connection.vendor == "mysql"


def of_days() -> list[date]:
    """The days that have a partition, in order; none on SQLite, or before the migration."""
    matches = [_NAME.fullmatch(name) for name in _names()]
    return [date(*map(int, match.groups())) for match in matches if match]


def spilled() -> list[str]:
    """Which of the two partitions that are kept empty hold events: an alarm."""
    if not are_used():
        return []
    return [name for name in (OLDEST, NEWEST) if name in _names() and _has_rows(name)]


def first_split(day: date) -> None:
    """Divide the table, which is not divided yet: `day` and those after it get partitions."""
    last = days.today() + timedelta(days=AHEAD_DAYS)
    span = [day + timedelta(days=number) for number in range((last - day).days + 1)]
    parts = [f"PARTITION {OLDEST} VALUES LESS THAN ('{_uuid(day)}')", *map(_partition, span)]
    parts.append(f"PARTITION {NEWEST} VALUES LESS THAN MAXVALUE")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {_TABLE} PARTITION BY RANGE COLUMNS(id) ({', '.join(parts)})")


def make_ahead() -> int:
    """Make the partitions of the next `AHEAD_DAYS` days that are missing; how many.

    Raises `Busy`.
    """
    before = len(of_days())
    _alter(_addition)
    return len(of_days()) - before


def drop(day: date) -> None:
    """Drop a day's partition with everything in it, as fast for many events as for few.

    Raises `Busy`.
    """
    _alter(lambda: f"DROP PARTITION {_name(day)}" if day in of_days() else "")


def _addition() -> str:
    known = of_days()
    last = days.today() + timedelta(days=AHEAD_DAYS)
    if not known or known[-1] >= last:
        return ""
    missing = [known[-1] + timedelta(days=number + 1) for number in range((last - known[-1]).days)]
    parts = ", ".join([*map(_partition, missing), f"PARTITION {NEWEST} VALUES LESS THAN MAXVALUE"])
    # pmax is empty, so there is nothing to move.
    return f"REORGANIZE PARTITION {NEWEST} INTO ({parts})"


def _alter(wanted: Callable[[], str], pause: Callable[[float], None] = time.sleep) -> None:
    """Makes a change that is `wanted` until it is not any more (empty)."""
    # Not WAIT: whoever comes after a waiting ALTER waits as well, readers too. One that was told to
    # be locked out may have been made all the same, so each try looks anew.
    change = ""
    for number in range(TRIES):
        if not (change := wanted()):
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {_TABLE} NOWAIT {change}")
        except OperationalError as error:
            if error.args[0] != _LOCKED:
                raise
            pause(random.uniform(0, min(2.0, 0.05 * 2**number)))  # noqa: S311
        else:
            return
    raise Busy(f"{_TABLE} was in use at each of {TRIES} tries: {change.split('(')[0].strip()}")


def _names() -> list[str]:
    if not are_used():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT partition_name FROM information_schema.partitions WHERE table_schema ="
            " DATABASE() AND table_name = %s AND partition_name IS NOT NULL"
            " ORDER BY partition_ordinal_position",
            [_TABLE],
        )
        return [name for (name,) in cursor.fetchall()]


def _has_rows(partition: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {_TABLE} PARTITION ({partition}) LIMIT 1")  # noqa: S608
        return cursor.fetchone() is not None


def _name(day: date) -> str:
    return f"p{day:%Y%m%d}"


def _partition(day: date) -> str:
    return f"PARTITION {_name(day)} VALUES LESS THAN ('{_uuid(day + timedelta(days=1))}')"


def _uuid(day: date) -> str:
    digits = days.floor(day)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
