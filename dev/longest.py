"""The ten longest functions: an alarm for the reader, not a gate."""

import ast
from collections.abc import Iterator
from pathlib import Path

from dev.environment import ROOT

PACKAGES = ("accounts", "audit", "bench", "dev", "pairing", "ratelimit", "stabilizer")
SHOWN = 10


def functions(root: Path) -> Iterator[tuple[int, str, str]]:
    """(lines, file:line, name) of each function of this repository's packages."""
    for package in PACKAGES:
        for file in (root / package).rglob("*.py"):
            if "migrations" not in file.parts:
                yield from _functions(file, str(file.relative_to(root)))


def _functions(file: Path, shown: str) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield lines, f"{shown}:{node.lineno}", node.name


def main() -> None:
    """`python -m dev.longest`: print them, longest first."""
    print("the ten longest functions")
    for lines, place, name in sorted(functions(ROOT), reverse=True)[:SHOWN]:
        print(f"{lines:5}  {place}  {name}")


if __name__ == "__main__":
    main()
