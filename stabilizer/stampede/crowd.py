"""All devices of a stampede: those that come back are paired before, then everybody arrives."""

import asyncio
import random
import resource
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from stabilizer.stampede.device import Device, Errand, Identity
from stabilizer.stampede.tally import Tally
from stabilizer.stampede.target import Target
from stabilizer.stampede.waits import Way

NETWORKS = 1 << 16
#: Devices that are paired beforehand, at once.
PREPARED_AT_ONCE = 32
PREPARATION_S = 60.0
#: Files of the process besides the devices' connections.
OTHER_FILES = 64
PROGRESS_S = 0.2

Watch = Callable[[str, Tally], None]


class TooMany(Exception):
    """The system does not let this process open a connection for each device."""


class NotPrepared(Exception):
    """Devices that were to come back could not even be paired one after the other."""


class Newcomer(Identity):
    """A device that comes back, when it came first."""

    @property
    def errand(self) -> Errand:
        return Errand.PAIR

    @property
    def leaves(self) -> bool:
        return False


def crowd(devices: int) -> list[Identity]:
    """The devices of one run, in networks that earlier runs have probably not used."""
    first = random.randrange(NETWORKS)  # noqa: S311
    return [Identity(number, (first + number) % NETWORKS) for number in range(devices)]


def allow_connections(connections: int) -> None:
    """Raise the limit of open files; raises `TooMany` when that does not suffice."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < connections + OTHER_FILES:
        raise TooMany(
            f"{connections} connections need more files than the {hard} this process may open"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def prepare(identities: Sequence[Identity], target: Target, watch: Watch) -> None:
    """Pair those that will come back, a few at a time. Raises `NotPrepared`."""
    newcomers = [
        Newcomer(identity.number, identity.network)
        for identity in identities
        if identity.errand is Errand.PAIR_AGAIN
    ]
    if not newcomers:
        return
    tally = Tally(len(newcomers), time.monotonic())
    waiting = iter(newcomers)

    async def pair_some() -> None:
        for identity in waiting:
            await Device(identity, target, tally, PREPARATION_S).run()

    await _watched("preparing", tally, [pair_some() for _ in range(PREPARED_AT_ONCE)], watch)
    if not tally.everybody_served:
        reason, times = tally.failures.most_common(1)[0]
        raise NotPrepared(f"{times} of {tally.devices} could not be paired beforehand: {reason}")


async def stampede(
    identities: Sequence[Identity],
    target: Target,
    *,
    deadline_s: float,
    rate: float | None,
    watch: Watch,
    way: Way = Way.POLL,
) -> Tally:
    """Let all devices arrive, `rate` per second or at once, and see what becomes of them."""
    tally = Tally(len(identities), time.monotonic())

    async def arrive(number: int, identity: Identity) -> None:
        if rate is not None:
            await asyncio.sleep(number / rate)
        await Device(identity, target, tally, deadline_s, way).run()

    journeys = (arrive(number, identity) for number, identity in enumerate(identities))
    await _watched("stampede", tally, journeys, watch)
    return tally


async def _watched(
    name: str, tally: Tally, journeys: Iterable[Coroutine[Any, Any, None]], watch: Watch
) -> None:
    async def show() -> None:
        while True:
            watch(name, tally)
            await asyncio.sleep(PROGRESS_S)

    showing = asyncio.create_task(show())
    try:
        await asyncio.gather(*journeys)
    finally:
        showing.cancel()
        watch(name, tally)
