"""Has MariaDB read events by the whole of an index: its column, and then the id."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.db.models.sql.datastructures import BaseTable

from audit.models import Event

#: The index that serves each column, where there is one.
INDEXES = {index.fields[0]: index.name for index in Event._meta.indexes}


class IndexedTable(BaseTable):
    """The table of events in a query, to be read by one of `indexes` and by no other way.

    MariaDB compares an index's column alone with the primary key's range, and takes one of them: to
    show 50 events of an action that are older than one, it then reads those that are not older as
    well, or those of other actions. It does not consider both parts of the index unless it must.
    """

    def __init__(self, table_name: str, alias: str | None, indexes: tuple[str, ...] = ()) -> None:
        super().__init__(table_name, alias)
        self.indexes = indexes

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        sql, params = super().as_sql(compiler, connection)
        if connection.vendor == "mysql" and self.indexes:
            sql = f"{sql} FORCE INDEX ({', '.join(self.indexes)})"
        return sql, params


def by_index(events: "QuerySet[Event, Any]", columns: Iterable[str]) -> "QuerySet[Event, Any]":
    """The same events, read by an index of one of the columns, or of those named before."""
    found = events.all()
    alias = str(found.query.get_initial_alias())
    table = found.query.alias_map[alias]
    known = table.indexes if isinstance(table, IndexedTable) else ()
    indexes = (*known, *(INDEXES[name] for name in columns if name in INDEXES))
    found.query.alias_map[alias] = IndexedTable(str(table.table_name), alias, indexes)
    return found
