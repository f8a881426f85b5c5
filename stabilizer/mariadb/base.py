"""Django's MySQL backend for MariaDB, in as few round trips as a transaction needs.

Django brackets a transaction with SET autocommit=0, COMMIT and SET autocommit=1. Here the server
stays at autocommit=1, BEGIN travels with the transaction's first statement, and writes that nobody
reads back (`postponed`) travel with the next statement or with COMMIT. A transaction of such writes
only is sent whole, as one compound statement with one result. While the server works, the serving
thread says that it is `waiting`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError
from django.db.backends.mysql import base
from MySQLdb import OperationalError, cursors

from audit.statements import Unmatched
from stabilizer.work import waiting

BEGIN, COMMIT = b"BEGIN", b"COMMIT"
SEPARATOR = b"; "
#: All of a transaction. Where a statement fails, those behind it are not run, and its error is the
#: result; the transaction is still open then.
WHOLE = b"BEGIN NOT ATOMIC START TRANSACTION; %b; COMMIT; END"
#: MariaDB's own numbers end below 5000.
UNMATCHED = 30001
REQUIRED = (
    b"IF ROW_COUNT() = 0 THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = %d, "
    b"MESSAGE_TEXT = 'a row is not as it was read'; END IF" % UNMATCHED
)


class Terse(cursors.Cursor):
    """A cursor that asks for a further result only where the last one said that it follows.

    Each question lets go of the interpreter's lock, which others are waiting for.
    """

    def _discard(self) -> None:
        connection = self.connection
        if connection is not None and not connection.more_results():
            self.connection = None  # so it has nobody to ask
        try:
            super()._discard()  # type: ignore[no-untyped-call]
        finally:
            self.connection = connection


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

    @contextmanager
    def required(self) -> Iterator[None]:
        """The write executed in the block is `postponed`, and fails where it meets no row.

        Only inside a transaction. It raises `Unmatched`; what travels behind it is not run then.
        """
        with self.postponed():
            yield
        self.owed.append(REQUIRED)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.owed = []
        with waiting:
            return super().get_new_connection({**conn_params, "autocommit": True})

    def create_cursor(self, name: Any = None) -> Any:
        return Cursor(self.connection.cursor(Terse), self)

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
            begin, *writes = owed
            is_whole = begin == BEGIN
            statements = [WHOLE % SEPARATOR.join(writes)] if is_whole else [*owed, COMMIT]
            with self.wrap_database_errors, self.connection.cursor(Terse) as cursor:
                _translated(lambda: send(cursor, statements))
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
        if error.args[0] == UNMATCHED:
            raise Unmatched(*error.args) from error
        if error.args[0] in base.CursorWrapper.codes_for_integrityerror:
            raise IntegrityError(*error.args) from error
        raise
