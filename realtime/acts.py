"""What is done for a waiting device, as if it had asked by HTTP: charged, in the pool, recorded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError

from audit import context
from pairing import creation, delivery
from pairing.delivery import Delivery
from pairing.refusal import Refusal
from ratelimit.gcra import Verdict
from realtime.protocol import Error
from realtime.wait import Wait

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: When what could not be done is tried again, by us or by the device.
AGAIN_S = 1.0

#: Has a thread call a function, under a slot of the gate; raises `Unavailable`.
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
#: Charges a device for what the named policy limits.
Charge = Callable[[str, Wait], Awaitable[Verdict]]


class Unavailable(Exception):
    """There was no slot in time."""


class Acts:
    """Renewals, deliveries and acknowledgements. What is not done, the device is told by `error`.

    Not a word is said of a database that is away while credentials are fetched: `deliver` raises.
    """

    def __init__(self, run: Run, charge: Charge) -> None:
        self._run = run
        self._charge = charge

    async def renew(self, wait: Wait) -> bool:
        """Give the device a new code; True if it has one."""
        if not await self._admitted("pairing.renew", wait):
            return False
        return await self._done(wait, partial(creation.renew, wait.device, udid=wait.udid))

    async def acknowledge(self, wait: Wait) -> bool:
        """The device has its credentials safe; True if the service has forgotten them."""
        if not await self._admitted("pairing.ack", wait):
            return False
        return await self._done(wait, partial(delivery.acknowledge, wait.device, udid=wait.udid))

    async def deliver(self, waits: Sequence[Wait]) -> list[Delivery | Refusal | None]:
        """What each device is handed; None for those over their limit.

        Raises `Unavailable` and `DatabaseError`; then nobody was told anything.
        """
        admitted = await asyncio.gather(
            *(self._admitted("pairing.credentials", wait) for wait in waits)
        )
        acts = [
            _for(wait, partial(delivery.collect, wait.device, udid=wait.udid))
            for wait, is_in in zip(waits, admitted, strict=True)
            if is_in
        ]
        outcomes = iter(await self._run(lambda: [act() for act in acts]) if acts else ())
        return [next(outcomes) if is_in else None for is_in in admitted]

    async def _admitted(self, policy: str, wait: Wait) -> bool:
        verdict = await self._charge(policy, wait)
        if not verdict.allowed:
            code = "limits_unavailable" if verdict.unavailable else "rate_limited"
            complain(wait, code, verdict.retry_after_s)
        return verdict.allowed

    async def _done(self, wait: Wait, act: Callable[[], Any]) -> bool:
        try:
            outcome = await self._run(_for(wait, act))
        except Unavailable:
            complain(wait, "overloaded", AGAIN_S)
            return False
        except DatabaseError as error:
            logger.warning("no act of a device can be done: %s", type(error).__name__)
            complain(wait, "database_unavailable", AGAIN_S)
            return False
        if isinstance(outcome, Refusal):
            complain(wait, outcome.code, outcome.retry_after_s)
            return False
        return True


def complain(wait: Wait, code: str, retry_after_s: float) -> None:
    """Tell a device what was not done, and when it may be tried again."""
    wait.wire.tell(Error(code=code, retry_after_ms=round(retry_after_s * 1000) or None))


def _for(wait: Wait, act: Callable[[], T]) -> Callable[[], T]:
    """`act`, whose records in the trail say for whom it was done."""

    def bound() -> T:
        with context.bound(wait.context):
            return act()

    return bound
