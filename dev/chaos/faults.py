"""What is done to the service, round by round."""

import random
import time
from collections.abc import Callable, Iterator

from redis import Redis
from redis.exceptions import RedisError

from dev.chaos.stack import REALTIME, WEB, Stack

LEASES = "rl:{-}:slots:leases"
#: A dead process's slots are given to others after so long.
LEASE_S = 3.0


class SlotsKept(Exception):
    """A dead process still held slots when its lease should have lapsed."""


def kill_web(stack: Stack, chance: random.Random) -> None:
    """A web process dies in the middle of its requests; its slots are back within a lease."""
    name = chance.choice(WEB)
    pid = stack.kill(name).pid
    stack.start(name)
    _await_slots(stack, pid)


def kill_realtime(stack: Stack, chance: random.Random) -> None:
    """A gateway's process dies, perhaps in the middle of a delivery."""
    name = chance.choice(REALTIME)
    stack.kill(name)
    stack.start(name)


def kill_worker(stack: Stack, chance: random.Random) -> None:
    """The worker dies, perhaps between its COMMIT and its acknowledgement."""
    stack.kill("worker")
    stack.start("worker")


def kill_shipper(stack: Stack, chance: random.Random) -> None:
    """The shipper dies, perhaps after it has handed over what its ledger does not say yet."""
    stack.kill("shipper")
    stack.start("shipper")


def flush_redis(stack: Stack, chance: random.Random) -> None:
    """Redis forgets limits, leases and all segments on their way."""
    with Redis.from_url(stack.env["REDIS_URL"]) as client:
        client.flushall()


def restart_redis(stack: Stack, chance: random.Random) -> None:
    """Redis dies, and comes back empty."""
    stack.restart_redis()


KINDS: tuple[Callable[[Stack, random.Random], None], ...] = (
    kill_web,
    kill_realtime,
    kill_worker,
    kill_shipper,
    flush_redis,
    restart_redis,
)


def rounds(count: int, seed: int) -> Iterator[Callable[[Stack, random.Random], None]]:
    """Each kind as often as the others, in an order that `seed` decides."""
    chance = random.Random(seed)  # noqa: S311
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chance.shuffle(kinds)
    yield from kinds


def _await_slots(stack: Stack, pid: int) -> None:
    deadline = time.monotonic() + LEASE_S + 0.5
    with Redis.from_url(stack.env["REDIS_URL"]) as client:
        while any(f":{pid}:" in process for process in _leasing(client)):
            if time.monotonic() > deadline:
                raise SlotsKept(f"process {pid} was killed {LEASE_S} s ago and still has slots")
            time.sleep(0.1)


def _leasing(client: Redis) -> list[str]:
    """The processes whose leases have not lapsed; what has lapsed goes with the next refresh."""
    try:
        seconds, micros = client.time()
        now_ms = seconds * 1000 + micros // 1000
        members = client.zrangebyscore(LEASES, now_ms, "+inf")
    except RedisError:
        return []
    return [member.decode() for member in members]  # type: ignore[union-attr]
