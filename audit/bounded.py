"""Reads that end in time: what a person searches for must not hold up those who write the trail."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection

#: Of one statement, where no index serves what is searched for.
LONGEST_S = 5
#: What MariaDB says of a statement that took longer than its `max_statement_time`.
_TIMED_OUT = 1969


class TooLong(Exception):
    """The database ended a statement after `longest_s`."""

    def __init__(self, longest_s: float) -> None:
        super().__init__(f"Not found in {longest_s} s.")
        self.longest_s = longest_s


@contextmanager
def within(longest_s: float | None) -> Iterator[None]:
    """MariaDB ends each statement of the block after so long, and `TooLong` is raised.

    With None, and on SQLite, which writes nothing that others wait for, they take their time.
    """
    if longest_s is None or connection.vendor != "mysql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION max_statement_time = %s", [longest_s])
        try:
            yield
        except OperationalError as error:
            if error.args[0] != _TIMED_OUT:
                raise
            raise TooLong(longest_s) from error
        finally:
            cursor.execute("SET SESSION max_statement_time = DEFAULT")
