"""Changed numbers of policies, as somebody wrote them down: read, and refused where they are wrong.

A draft names policies as the admin does, and only the numbers that change::

    ["pairing.create"]
    criticality = "sheddable"
    limits.udid = {quantity = 3}
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratelimit.gcra import SECOND_US
from ratelimit.models import Criticality, LimitRow, PolicyRow, StoreAway

CHOICES: Mapping[str, tuple[str, ...]] = {
    "criticality": tuple(Criticality.values),
    "store_away": tuple(StoreAway.values),
}
#: The least and the most of each number.
NUMBERS = {"weight": (1, 32_767), "wait_ms": (0, 600_000)}
LIMIT_NUMBERS = {"quantity": (1, 2**31 - 1), "window_s": (1, 366 * 86_400)}
#: What a limit of nothing but numbers is to its policy's row.
LIMITS = "limits"

Changes = Mapping[str, list[Any]]


class BadDraft(ValueError):
    """What is wrong, as a stable `code`, and `where`."""

    def __init__(self, code: str, where: str, words: str) -> None:
        super().__init__(f"{where}: {words}" if where else words)
        self.code = code
        self.where = where


@dataclass(frozen=True, slots=True)
class Draft:
    """The numbers of one policy's row that are to change, and those of its limits."""

    policy: str
    numbers: Mapping[str, Any]
    limits: Mapping[str, Mapping[str, int]]

    @property
    def document(self) -> dict[str, Any]:
        """As it is kept, and read again."""
        return {**self.numbers, **({LIMITS: self.limits} if self.limits else {})}

    def put_on(self, row: PolicyRow, limits: Mapping[str, LimitRow]) -> None:
        """Set the numbers on rows, which are not saved."""
        for name, value in self.numbers.items():
            setattr(row, name, value)
        for limit, numbers in self.limits.items():
            for name, value in numbers.items():
                setattr(limits[limit], name, value)

    def changes(self) -> dict[str, list[Any]]:
        """Each number that differs from what is in force: what it is, and what it becomes."""
        row = PolicyRow.objects.get(name=self.policy)
        found = {name: [getattr(row, name), value] for name, value in self.numbers.items()}
        for limit in row.limits.filter(name__in=self.limits):
            for name, value in self.limits[limit.name].items():
                found[f"{limit.name}.{name}"] = [getattr(limit, name), value]
        return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def load(path: Path) -> list[Draft]:
    """The drafts of a file in TOML. Raises `BadDraft`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadDraft("unreadable", str(path), str(error.strerror)) from error
    except ValueError as error:
        raise BadDraft("not_toml", str(path), str(error)) from error
    return read(document)


def read(document: Mapping[str, Any]) -> list[Draft]:
    """The drafts of a document, one for each policy that it names. Raises `BadDraft`."""
    if not document:
        raise BadDraft("nothing_changes", "", "no policy is named")
    rows = {row.name: row for row in PolicyRow.objects.prefetch_related(LIMITS)}
    return [_read(name, said, rows) for name, said in document.items()]


def _read(name: str, said: Any, rows: Mapping[str, PolicyRow]) -> Draft:
    if name not in rows:
        raise BadDraft("unknown_policy", name, f"no such policy; there are {', '.join(rows)}")
    if not isinstance(said, Mapping):
        raise BadDraft("bad_value", name, "must be a table of numbers")
    numbers = {key: _value(f"{name}.{key}", key, value) for key, value in said.items()}
    limits = numbers.pop(LIMITS, {})
    known = {limit.name: limit for limit in rows[name].limits.all()}
    for limit in limits:
        if limit not in known:
            there = ", ".join(known) or "it has none; its limits may be another policy's"
            raise BadDraft("unknown_limit", f"{name}.limits.{limit}", f"no such limit; {there}")
    draft = Draft(name, numbers, dict(_limits(name, limits)))
    for limit, given in draft.limits.items():
        quantity = given.get("quantity", known[limit].quantity)
        if quantity > given.get("window_s", known[limit].window_s) * SECOND_US:
            raise BadDraft("bad_value", f"{name}.limits.{limit}", "more than one a microsecond")
    return draft


def _value(where: str, key: str, value: Any) -> Any:
    if key == LIMITS:
        if not isinstance(value, Mapping):
            raise BadDraft("bad_value", where, "must be a table of limits")
        return value
    if key in CHOICES:
        if value not in CHOICES[key]:
            raise BadDraft("bad_value", where, f"must be one of {', '.join(CHOICES[key])}")
        return value
    if key not in NUMBERS:
        known = ", ".join((*CHOICES, *NUMBERS, LIMITS))
        raise BadDraft("unknown_field", where, f"no such number of a policy; there are {known}")
    return _number(where, value, *NUMBERS[key])


def _limits(name: str, said: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, int]]]:
    for limit, numbers in said.items():
        where = f"{name}.limits.{limit}"
        if not isinstance(numbers, Mapping):
            raise BadDraft("bad_value", where, "must be a table with quantity, window_s or both")
        for key in numbers:
            if key not in LIMIT_NUMBERS:
                known = ", ".join(LIMIT_NUMBERS)
                raise BadDraft("unknown_field", f"{where}.{key}", f"a limit has {known}")
        yield (
            limit,
            {
                key: _number(f"{where}.{key}", value, *LIMIT_NUMBERS[key])
                for key, value in numbers.items()
            },
        )


def _number(where: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadDraft("bad_value", where, f"must be a whole number from {least} to {most}")
    return value
