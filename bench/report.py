"""The rows of `make bench` for people and for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.table import Table

from bench.row import Row

VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


def table(title: str, rows: Sequence[Row]) -> Table:
    """One comparison. The caption holds what one must know to judge it."""
    notes = dict.fromkeys(row.note for row in rows if row.note)
    drawn = Table(title=title, title_justify="left", caption="; ".join(notes), expand=True)
    drawn.caption_justify = "left"
    drawn.add_column("", ratio=1)
    drawn.add_column("unit")
    for column in ("ours", "peer", "ratio", "min", "max"):
        drawn.add_column(column, justify="right", no_wrap=True)
    drawn.add_column("goal")
    drawn.add_column("")
    for row in rows:
        drawn.add_row(row.name, row.unit, *_figures(row), str(row.goal or ""), VERDICTS[row.met])
    return drawn


def _figures(row: Row) -> list[str]:
    """Ours and the peer's as medians; the ratio and its spread, or the spread of our own figure."""
    peer = _words(median(row.peers)) if row.peers else ""
    ratio = _words(row.value) if row.peers else ""
    return [_words(median(row.ours)), peer, ratio, *map(_words, row.spread)]


def _words(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(results: Mapping[str, Sequence[Row]], file: Path) -> None:
    """A list of rows as JSON, each with the name of its comparison."""
    document = [
        {"comparison": name, **row.document()} for name, rows in results.items() for row in rows
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def verdict(results: Mapping[str, Sequence[Row]]) -> str:
    """How many goals are met, and by name those that are not."""
    judged = [row for rows in results.values() for row in rows if row.met is not None]
    missed = [row for row in judged if not row.met]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} goals met"]
    lines += [f"missed: {row.name}: {_words(row.value)}, {row.goal}" for row in missed]
    return "\n".join(lines)
