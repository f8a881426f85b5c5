"""Pictures: goodput beyond capacity, and a herd that returns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def draw(goodputs: Mapping[str, Mapping[int, float]], deadline_s: float, file: Path) -> None:
    """Write a PNG: a line for each contestant, its goodput by the multiple of the capacity."""
    with _axes(file) as axes:
        for name, by_multiple in goodputs.items():
            axes.plot(list(by_multiple), list(by_multiple.values()), marker="o", label=name)
        axes.set(
            title="Goodput under arrivals that wait for nobody",
            xlabel="arrivals, multiples of the capacity",
            ylabel=f"answers within {deadline_s:g} s, per second",
            xticks=sorted({multiple for each in goodputs.values() for multiple in each}),
        )


def ramp(asked: Mapping[str, Sequence[int]], file: Path) -> None:
    """Write a PNG: requests in each second, a line for each sort of advice."""
    with _axes(file) as axes:
        for name, counts in asked.items():
            axes.plot(range(len(counts)), counts, label=name)
        axes.set(
            title="Those who came in one second, and when they returned",
            xlabel="seconds since the first came",
            ylabel="requests per second",
        )


@contextmanager
def _axes(file: Path) -> Iterator[Any]:
    """Axes to draw lines on; what was drawn is written to `file`."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    yield axes
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
