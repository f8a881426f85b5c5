"""`python -m bench.stampede.trials`: which WSGI server, set up how, is the strongest rival.

Each candidate runs behind HAProxy, around the predecessor's application and around ours;
`contestants.py` takes the best of each. Seconds for 1,000 devices on two cores that others used
too, a figure per run, so that only large differences count:

    threads, maxconn      1, 1        2, 2              4, 8                    8, 16       4, 16
    predecessor
      gunicorn sync       23 21 35
      gunicorn gthread    34 27       22 22 19          17 14 16                14 12 14
      granian                                           14 14 14 8.7            20 7.5      9.2 8.5
    our application
      gunicorn sync       11 15 15
      gunicorn gthread    22 19       15                8.7 9.9 9.0 8.7 16      9.6 5.3     9.0 5.6
      granian                                           12 5.4                  7.1 5.4

With one request at a time in each process nobody computes while MariaDB writes a commit to disk.
"""

import os
from collections.abc import Iterator

from rich.console import Console

from bench.stampede import wsgi
from bench.stampede.contest import compete, forget_the_tests
from bench.stampede.contestant import Contestant
from bench.stampede.starts import proxied_ours, proxied_predecessor
from dev.test import temporary_directory

#: Threads, and HAProxy's maxconn, of each process.
SIZES = ((1, 1), (2, 2), (4, 4), (4, 8), (4, 16), (8, 16))
CANDIDATES = (
    wsgi.sync(1),
    wsgi.sync(2),
    *(wsgi.gthread(*size) for size in SIZES),
    *(wsgi.granian(*size) for size in SIZES),
)


def main() -> None:
    """Let DEVICES (400) come to each, and print a line about it."""
    devices = int(os.environ.get("DEVICES") or "400")
    console = Console(width=110)
    forget_the_tests()
    for contestant in _contestants():
        with temporary_directory() as directory:
            result = compete(contestant, devices, directory)
        console.print(
            f"{contestant.title:<12} {contestant.settings:<40} {result.took_s:5.1f} s  "
            f"{result.cpu_ms_per_served:5.1f} ms CPU per device  "
            f"mean try {result.mean_try_s:.2f} s  {result.load['served_percent']:.1f} % served",
            highlight=False,
        )


def _contestants() -> Iterator[Contestant]:
    for candidate in CANDIDATES:
        words = f"{candidate.name}, maxconn {candidate.maxconn}"
        yield Contestant("predecessor", "predecessor", words, proxied_predecessor(candidate))
        yield Contestant("ours", "our app", words, proxied_ours(candidate))


if __name__ == "__main__":
    main()
