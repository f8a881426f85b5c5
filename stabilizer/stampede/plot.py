"""A picture of a stampede: who was served when, and who was asked to return."""

from pathlib import Path

from stabilizer.stampede.tally import Tally


class NoMatplotlib(Exception):
    """The extra `plot` is not installed."""

    def __init__(self) -> None:
        super().__init__("--plot needs matplotlib: uv sync --extra plot")


def require() -> None:
    """Raise `NoMatplotlib` before a run whose picture could not be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise NoMatplotlib from None


def draw(tally: Tally, file: Path) -> None:
    """Write a PNG: devices served so far, and refusals per second."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (served, refused) = pyplot.subplots(2, sharex=True, figsize=(9, 6))
    times = sorted(tally.served_at)
    shares = [100 * count / tally.devices for count in range(1, len(times) + 1)]
    served.step(times, shares, where="post")
    served.set(ylabel="served, %", ylim=(0, 102), title=f"{tally.devices:,} devices")
    served.grid(alpha=0.3)
    last = max([1.0, *times, *tally.refused_at[429], *tally.refused_at[503]])
    seconds = range(int(last) + 2)
    refused.hist(
        [list(tally.refused_at[429]), list(tally.refused_at[503])],
        bins=seconds,
        stacked=True,
        label=["429", "503"],
    )
    refused.set(xlabel="seconds", ylabel="refusals per second")
    refused.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
