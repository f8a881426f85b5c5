"""Writes of a fixed shape, put together once and run many times.

Building and compiling an INSERT or UPDATE costs Django 300 to 400 us of Python, with the
interpreter's lock held; running it costs 40. The few writes that every device causes are put
together once. They go through Django's cursors, so transactions, query capture and errors are what
they are elsewhere.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, cast

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, models

PLAIN = (str, int, bool)
#: Fields that hand values of these types to the database as they are.
PLAIN_FIELDS = (
    models.CharField,
    models.TextField,
    models.IntegerField,
    models.BooleanField,
    models.ForeignKey,
)


class Unmatched(IntegrityError):
    """A row that was to be changed is not any more as it was read."""


def insert(row: models.Model, *, postponed: bool = False) -> None:
    """INSERT `row` as `save(force_insert=True)` does, without signals.

    A key that the database generates is not read back. `postponed`, where the engine can, sends it
    with the next statement of the transaction, or with its COMMIT: an error is raised there.
    """
    engine = connections[DEFAULT_DB_ALIAS]
    fields = _stored(type(row), row.pk is None)
    values = [_bound(field, field.pre_save(row, add=True), engine) for field in fields]
    later = getattr(engine, "postponed", nullcontext) if postponed else nullcontext
    with engine.cursor() as cursor, later():
        cursor.execute(_insert(type(row), row.pk is None, engine.vendor), values)
    row._state.adding = False
    row._state.db = DEFAULT_DB_ALIAS


def update(model: type[models.Model], where: Mapping[str, Any], to: Mapping[str, Any]) -> int:
    """UPDATE the rows whose columns are as in `where`; how many there were, changed or not.

    None in `where` stands for NULL.
    """
    return _run_update(connections[DEFAULT_DB_ALIAS], model, where, to)


def must_update(model: type[models.Model], where: Mapping[str, Any], to: Mapping[str, Any]) -> None:
    """`update`, in a transaction that is worth nothing without a row that is as in `where`.

    Raises `Unmatched` where there is none: here or, where the engine can send it later, with the
    next statement of the transaction or with its COMMIT.
    """
    engine = connections[DEFAULT_DB_ALIAS]
    if hasattr(engine, "required") and engine.in_atomic_block:
        with engine.required():
            _run_update(engine, model, where, to)
    elif not _run_update(engine, model, where, to):
        raise Unmatched(f"no {model._meta.verbose_name} is as it was read")


def _run_update(
    engine: Any, model: type[models.Model], where: Mapping[str, Any], to: Mapping[str, Any]
) -> int:
    same = {name: value for name, value in where.items() if value is not None}
    empty = tuple(name for name, value in where.items() if value is None)
    values = [
        _bound(_field(model, name), value, engine)
        for part in (to, same)
        for name, value in part.items()
    ]
    with engine.cursor() as cursor:
        cursor.execute(_update(model, tuple(same), empty, tuple(to), engine.vendor), values)
        return int(cursor.rowcount)


def _bound(field: "models.Field[Any, Any]", value: Any, engine: Any) -> Any:
    """`value` as the database takes it; most are that already, and asking costs a microsecond."""
    if value is None or (type(value) in PLAIN and isinstance(field, PLAIN_FIELDS)):
        return value
    return field.get_db_prep_save(value, engine)


@lru_cache(maxsize=512)
def _field(model: type[models.Model], name: str) -> "models.Field[Any, Any]":
    return cast("models.Field[Any, Any]", model._meta.get_field(name))


@lru_cache(maxsize=128)
def _stored(model: type[models.Model], generated: bool) -> "list[models.Field[Any, Any]]":
    fields = model._meta.concrete_fields
    return [field for field in fields if not (generated and field.primary_key)]


@lru_cache(maxsize=128)
def _insert(model: type[models.Model], generated: bool, vendor: str) -> str:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = [quote(str(field.column)) for field in _stored(model, generated)]
    table, marks = quote(model._meta.db_table), ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  our names


@lru_cache(maxsize=256)
def _update(
    model: type[models.Model],
    same: tuple[str, ...],
    empty: tuple[str, ...],
    to: tuple[str, ...],
    vendor: str,
) -> str:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name

    def said(name: str, what: str) -> str:
        return f"{quote(str(_field(model, name).column))} {what}"

    changes = ", ".join(said(name, "= %s") for name in to)
    conditions = " AND ".join(
        [said(name, "= %s") for name in same] + [said(name, "IS NULL") for name in empty]
    )
    table = quote(model._meta.db_table)
    return f"UPDATE {table} SET {changes} WHERE {conditions}"  # noqa: S608  our names
