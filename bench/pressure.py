"""What each step under pressure saves: the same request with it and without it, on MariaDB."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from bench.place import Place
from bench.row import Row, at_most

ROWS, QUICK_ROWS = 2_000, 60
REQUESTS, QUICK_REQUESTS = 150, 20
TIME, CPU = 0, 1
UNIT = "us per request"
#: What is lighter, beside what, and how much of its time that may take.
STEPS: Mapping[str, tuple[str, float]] = {
    "lists_trimmed": ("a page of 20 devices to one of 200", 0.5),
    "fields_trimmed": ("50 devices without other tables to 50 with", 0.95),
    "search_off": ("a search refused to one made", 0.5),
    "lists_stale": ("the copy of a list to the list", 0.25),
    "polls_copied": ("a poll answered from memory to one from the database", 0.9),
}


def rows(place: Place) -> Iterator[Row]:
    """Time and processor time of each step, side by side."""
    given = {
        "rounds": place.rounds,
        "requests": QUICK_REQUESTS if place.quick else REQUESTS,
        "rows": QUICK_ROWS if place.quick else ROWS,
        "key": place.env["API_KEY"],
    }
    taken = place.told("bench.pressed", given)
    for name, (what, bound) in STEPS.items():
        yield from _step(taken[name], name, what, bound)


def _step(taken: Mapping[str, Any], name: str, what: str, bound: float) -> Iterator[Row]:
    lighter, full = taken["with"], taken["without"]
    sizes = [median(cost[2] for cost in costs) for costs in (lighter, full)]
    note = f"{name}: {sizes[0]:,.0f} bytes to {sizes[1]:,.0f}"
    time = tuple(tuple(cost[TIME] for cost in costs) for costs in (lighter, full))
    cpu = tuple(tuple(cost[CPU] for cost in costs) for costs in (lighter, full))
    yield Row(f"{name}: {what}, time", UNIT, time[0], time[1], at_most(bound), note)
    yield Row(f"{name}: {what}, processor", UNIT, cpu[0], cpu[1])
