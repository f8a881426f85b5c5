"""What a Redis has done and keeps, as it says itself."""

from dataclasses import dataclass
from typing import Any, Self

from redis import Redis


@dataclass(frozen=True)
class Usage:
    """Counted since the server's start. Processor time in seconds, memory in bytes."""

    #: Calls of our scripts, which is every call but those that start a process.
    calls: int
    #: Of these, the ones that charged limits and the ones that renewed a lease: only `charge.lua`
    #: reads several keys at once, and only `lease.lua` drops the dead from a sorted set.
    charges: int
    leases: int
    cpu_s: float
    memory: int

    @classmethod
    def of(cls, client: Redis) -> Self:
        commands, cpu = _info(client, "commandstats"), _info(client, "cpu")

        def calls(*names: str) -> int:
            return sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)

        return cls(
            calls("evalsha", "eval"),
            calls("mget"),
            calls("zremrangebyscore"),
            cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            _info(client, "memory")["used_memory"],
        )

    def __sub__(self, earlier: Self) -> Self:
        return type(self)(
            self.calls - earlier.calls,
            self.charges - earlier.charges,
            self.leases - earlier.leases,
            self.cpu_s - earlier.cpu_s,
            self.memory - earlier.memory,
        )


def _info(client: Redis, section: str) -> dict[str, Any]:
    return client.info(section)
