"""Queries that Django compiles once per thread: later calls only bind values.

Compiling costs four times what asking the database does, and a device's way asks the same four
questions each time. What comes back is what the queryset would have given.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model, QuerySet, Value

M = TypeVar("M", bound=Model)


class Given(Value):
    """Stands in a filter for the value number `position` of a call; `field` says its type."""

    def __init__(self, position: int, field: "Field[Any, Any]") -> None:
        super().__init__(position, output_field=field)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)

    def bound(self, values: Sequence[Any]) -> Any:
        database = connections[DEFAULT_DB_ALIAS]
        return self.output_field.get_db_prep_value(values[self.value], database)


def given(position: int, model: type[Model], field: str) -> Given:
    """The value number `position` of a call, of the type of that field."""
    return Given(position, cast("Field[Any, Any]", model._meta.get_field(field)))


class Prepared(Generic[M]):
    """Asks for the rows of the queryset that `build` makes, in which values are `given`."""

    def __init__(self, build: Callable[[], QuerySet[M]]) -> None:
        self._build = build
        self._local = threading.local()

    def rows(self, *values: Any) -> list[M]:
        """The rows for these values. One query."""
        queryset, compiler, sql, params = self._compiled()
        bound = [param.bound(values) if isinstance(param, Given) else param for param in params]
        compiler.as_sql = lambda *_, **__: (sql, bound)
        return list(queryset._iterable_class(queryset))

    def row(self, *values: Any) -> M | None:
        """The first of `rows`."""
        return next(iter(self.rows(*values)), None)

    def _compiled(self) -> tuple[Any, Any, str, tuple[Any, ...]]:
        kept = getattr(self._local, "compiled", None)
        if kept is None:
            queryset: Any = self._build()
            compiler = queryset.query.get_compiler(connection=connections[DEFAULT_DB_ALIAS])
            kept = self._local.compiled = (queryset, compiler, *compiler.as_sql())
            queryset.query.get_compiler = lambda *_, **__: compiler
            fields = [column[0] for column in compiler.select]
            converters = compiler.get_converters(fields)
            compiler.get_converters = lambda _: converters
        return cast(tuple[Any, Any, str, tuple[Any, ...]], kept)
