"""One contestant meets the crowd."""

import os
from pathlib import Path

from bench.stampede import load
from bench.stampede.contestant import Contestant
from bench.stampede.result import Result
from bench.stampede.usage import PeakMemory, settled


def forget_the_tests() -> None:
    """A shell in which somebody runs the tests names their servers, and would have all debug."""
    for name in ("DATABASE_URL", "REDIS_URL", "DEBUG"):
        os.environ.pop(name, None)


def compete(contestant: Contestant, devices: int, directory: Path) -> Result:
    """Start it below `directory`, pair who is to come back, let everybody come, stop it.

    Raises what its servers raise when they do not start, and `LoadFailed`.
    """
    with (
        contestant.running(directory / contestant.name) as service,
        PeakMemory(service.web_pids) as memory,
        load.started(service, devices=devices, deadline_s=contestant.deadline_s) as crowd,
    ):
        crowd.wait_until_prepared()
        before = service.usage()
        document = crowd.report()
        usage = settled(service.usage).since(before)
    return Result(
        contestant.name, contestant.title, contestant.settings, document, usage, memory.peak
    )
