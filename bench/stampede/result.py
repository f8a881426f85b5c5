"""What one contestant came to."""

from dataclasses import dataclass
from typing import Any

from bench.stampede.usage import Usage


@dataclass(frozen=True)
class Result:
    """`load` is the load process's report; `usage` the server side's during the stampede alone."""

    name: str
    title: str
    settings: str
    load: dict[str, Any]
    usage: Usage
    peak_bytes: int

    @property
    def took_s(self) -> float:
        return float(self.load["took_s"])

    @property
    def mean_try_s(self) -> float:
        """Over all tries, those included that got no answer."""
        return float(self.load["mean_try"])

    @property
    def cpu_ms_per_served(self) -> float:
        served = self.load["served"]
        return 1000 * self.usage.cpu_s / served if served else float("inf")

    @property
    def ideal_s(self) -> float:
        """What all its calls take at the peak of its own goodput."""
        peak = self.load["peak_per_second"]
        return float(self.load["answers"]["count"] / peak) if peak else 0.0

    @property
    def transport_errors(self) -> int:
        return sum(self.load["transport_errors"].values())

    @property
    def is_flawless(self) -> bool:
        """Everybody was served, and no connection timed out, was refused or broke on the way."""
        return self.load["served"] == self.load["devices"] and not self.transport_errors

    def document(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "name": self.name,
            "settings": self.settings,
            "server_cpu_s": round(self.usage.cpu_s, 3),
            "row_lock_wait_ms": self.usage.lock_wait_ms,
            "row_lock_waits": self.usage.lock_waits,
            "web_process_peak_bytes": self.peak_bytes,
            "load": self.load,
        }
