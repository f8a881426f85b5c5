"""Where a comparison runs, and how long it may take."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from dev.environment import ROOT


class MeasureFailed(Exception):
    """A measuring process ended with another status than 0. Carries what it said."""


@dataclass(frozen=True)
class Place:
    """A private MariaDB and Redis, which `env` names, and a directory for logs.

    What is `quick` shows that everything works; its figures are worth little.
    """

    env: Mapping[str, str]
    directory: Path
    quick: bool = False

    @property
    def measured_env(self) -> dict[str, str]:
        """What measured processes find: the routes of `bench.urls` instead of the product's."""
        return {**self.env, "DJANGO_SETTINGS_MODULE": "bench.settings"}

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    @property
    def load_s(self) -> float:
        """How long a server is loaded for one figure."""
        return 0.5 if self.quick else 3.0

    def forget(self) -> None:
        """Empty its Redis: the next comparison meets nobody who has used up a limit."""
        with closing(Redis.from_url(self.env["REDIS_URL"])) as client:
            client.flushdb()

    def told(self, module: str, given: Any = None) -> Any:
        """What `python -m MODULE` answers to `given`, JSON both ways. Raises `MeasureFailed`.

        In a process of its own: neither it nor its caller pays for the other's objects and threads.
        """
        run = subprocess.run(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=self.measured_env,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise MeasureFailed(f"{module}: {run.stderr}")
        return json.loads(run.stdout)
