"""One picture of all contestants: who had served how many when, and how long a try took."""

from collections.abc import Sequence
from pathlib import Path

from bench.stampede.result import Result


def draw(results: Sequence[Result], file: Path) -> None:
    """Write a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (served, tries) = pyplot.subplots(
        1, 2, figsize=(11, 4.5), gridspec_kw={"width_ratios": (3, 1)}
    )
    last = max(result.took_s for result in results)
    for number, result in enumerate(results):
        times = sorted(result.load["served_at"])
        shares = [100 * count / result.load["devices"] for count in range(len(times) + 1)]
        # To the end of the picture: who serves nobody any more stays where he is.
        served.step([0, *times, last], [*shares, shares[-1]], where="post", label=result.title)
        bar = tries.bar(number, result.mean_try_s, label=result.title)
        tries.bar_label(bar, fmt="%.2f")
    devices = results[0].load["devices"]
    served.set(xlabel="seconds", ylabel="served, %", ylim=(0, 102), xlim=(0, last))
    served.set(title=f"{devices:,} devices in one moment")
    served.grid(alpha=0.3)
    served.legend(loc="lower right")
    tries.set(title="mean try, seconds", xticks=[])
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
