"""Django's MySQL backend for MariaDB, in as few round trips as a transaction needs.

Django brackets a transaction with SET autocommit=0, COMMIT and SET autocommit=1. Here the server
stays at autocommit=1, BEGIN travels with the transaction's first statement, and writes that nobody
reads back (`postponed`) travel with the next statement or with COMMIT. While the server works, the
serving thread says that it is `waiting`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError
from django.db.backends.mysql import base
from MySQLdb import OperationalError

from stabilizer.work import waiting

BEGIN = b"BEGIN"
SEPARATOR = b"; "


class Cursor(base.CursorWrapper):
    """A cursor that sends what its connection owes the server ahead of its own statement."""

    def __init__(self, cursor: Any, database: "DatabaseWrapper") -> None:
        super().__init__(cursor)
        self._database = database

    def execute(self, query: Any, args: Any = None) -> Any:
        cursor, database = self.cursor, self._database
        if not (database.owed or database.postpones):
            with waiting:
                return super().execute(query, args)
        own = cursor._mogrify(query, args)
        database.owed.append(own)
        if database.postpones:
            cursor.rowcount = -1
        else:
            statements, database.owed = database.owed, []
            _translated(lambda: send(cursor, statements))
        # What Django's query log shows.
        cursor._executed = own
        return cursor.rowcount

    def executemany(self, query: Any, args: Any) -> Any:
        if statements := self._database.owed:
            self._database.owed = []
            _translated(lambda: send(self.cursor, statements))
        with waiting:
            return super().executemany(query, args)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection; `owed` are statements that the server has not been sent yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owed: list[bytes] = []
        self.postpones = False

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Writes executed in the block are sent with the next statement, or with COMMIT.

        Only inside a transaction. Their errors are raised then, and their row counts are unknown.
        """
        self.postpones = self.in_atomic_block
        try:
            yield
        finally:
            self.postpones = False

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.owed = []
        with waiting:
            return super().get_new_connection({**conn_params, "autocommit": True})

    def create_cursor(self, name: Any = None) -> Any:
        return Cursor(self.connection.cursor(), self)

    @property
    def _is_silent(self) -> bool:
        """Nothing has been sent in this transaction yet, not even BEGIN."""
        return self.owed[:1] == [BEGIN]

    def _set_autocommit(self, autocommit: bool) -> None:
        if not autocommit:
            self.owed = [BEGIN]
            return
        if not self.autocommit and not self._is_silent:
            # As SET autocommit=1 does in the middle of a transaction.
            self._commit()
        self.owed = []

    def _commit(self) -> None:
        owed, self.owed = self.owed, []
        if not owed:
            with waiting:
                super()._commit()  # type: ignore[misc]
        elif owed != [BEGIN]:
            with self.wrap_database_errors, self.connection.cursor() as cursor:
                _translated(lambda: send(cursor, [*owed, b"COMMIT"]))
        self._await_transaction()

    def _rollback(self) -> None:
        silent, self.owed = self._is_silent, []
        if not silent:
            with waiting:
                super()._rollback()  # type: ignore[misc]
        self._await_transaction()

    def _await_transaction(self) -> None:
        """Without autocommit, the next statement begins another one."""
        if not self.autocommit:
            self.owed = [BEGIN]


def send(cursor: Any, statements: Sequence[bytes]) -> Any:
    """Send `statements` in one round trip; `cursor` is left at the result of the last.

    The server runs them in order and stops at the first that fails, whose error is raised.
    """
    with waiting:
        cursor.execute(SEPARATOR.join(statements))
        for _ in statements[1:]:
            cursor.nextset()
        return cursor.rowcount


def _translated(act: Callable[[], Any]) -> Any:
    """What `act` returns; raises as `base.CursorWrapper` does."""
    try:
        return act()
    except OperationalError as error:
        if error.args[0] in base.CursorWrapper.codes_for_integrityerror:
            raise IntegrityError(*error.args) from error
        raise
