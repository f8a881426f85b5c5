"""Queries that Django compiles once per thread: later calls only bind values.

Compiling costs four times what asking the database does, and a device's way asks the same few
questions each time. What comes back is what the queryset would have given.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model, QuerySet, Value
from django.db.models.base import ModelState

M = TypeVar("M", bound=Model)


class Given(Value):
    """Stands in a filter for the value number `position` of a call; `field` says its type."""

    def __init__(self, position: int, field: "Field[Any, Any]") -> None:
        super().__init__(position, output_field=field)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)

    def bound(self, values: Sequence[Any], engine: Any) -> Any:
        return self.output_field.get_db_prep_value(values[self.value], engine)


def given(position: int, model: type[Model], field: str) -> Given:
    """The value number `position` of a call, of the type of that field."""
    return Given(position, cast("Field[Any, Any]", model._meta.get_field(field)))


class Prepared(Generic[M]):
    """Asks for the rows of the queryset that `build` makes, in which values are `given`.

    It may select whole models or some of their columns, relations and annotations.
    """

    def __init__(self, build: Callable[[], QuerySet[M]]) -> None:
        self._build = build
        self._local = threading.local()

    def rows(self, *values: Any) -> list[M]:
        """The rows for these values. One query."""
        plan: Plan | None = getattr(self._local, "plan", None)
        if plan is None:
            plan = self._local.plan = Plan(self._build())
        return plan.rows(values)

    def row(self, *values: Any) -> M | None:
        """The first of `rows`."""
        return next(iter(self.rows(*values)), None)


class Plan:
    """A compiled queryset: its SQL, and how its columns make model instances."""

    def __init__(self, queryset: QuerySet[Any]) -> None:
        engine = connections[DEFAULT_DB_ALIAS]
        compiler = queryset.query.get_compiler(connection=engine)
        self._sql, self._params = compiler.as_sql()
        columns = [column[0] for column in compiler.select]
        self._converters = compiler.get_converters(columns)
        self._root = Built(compiler.klass_info, columns)
        self._annotations: Mapping[str, int] = compiler.annotation_col_map

    def rows(self, values: Sequence[Any]) -> list[Any]:
        engine = connections[DEFAULT_DB_ALIAS]
        bound = [
            param.bound(values, engine) if isinstance(param, Given) else param
            for param in self._params
        ]
        with engine.cursor() as cursor:
            cursor.execute(self._sql, bound)
            found = cursor.fetchall()
        return [self._row(list(columns), engine) for columns in found]

    def _row(self, columns: list[Any], engine: Any) -> Any:
        for position, (converters, expression) in self._converters.items():
            for convert in converters:
                columns[position] = convert(columns[position], expression, engine)
        row = self._root.instance(columns)
        for name, position in self._annotations.items():
            setattr(row, name, columns[position])
        return row


class Built:
    """Makes instances of one model, with those it is joined to, as `ModelIterable` makes them.

    Columns that were not selected are deferred: fetched when somebody asks for them.
    """

    def __init__(self, klass_info: Mapping[str, Any], columns: Sequence[Any]) -> None:
        self._model = klass_info["model"]
        self._positions = {
            columns[position].target.attname: position for position in klass_info["select_fields"]
        }
        self._key = self._positions[self._model._meta.pk.attname]
        self._related = [
            (Built(related, columns), related["local_setter"], related["remote_setter"])
            for related in klass_info.get("related_klass_infos", ())
        ]

    def instance(self, columns: Sequence[Any]) -> Any:
        """The instance, or None where an outer join found nothing."""
        if columns[self._key] is None:
            return None
        row = self._model.__new__(self._model)
        state = row._state = ModelState()
        state.adding, state.db = False, DEFAULT_DB_ALIAS
        attributes = row.__dict__
        for name, position in self._positions.items():
            attributes[name] = columns[position]
        for built, set_local, set_remote in self._related:
            other = built.instance(columns)
            set_local(row, other)
            if other is not None:
                set_remote(other, row)
        return row
