"""Where the gateway has its work done: charged like a request, under a slot, in the pool."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections

from ratelimit.gcra import Verdict
from realtime.acts import Unavailable
from realtime.wait import Wait
from stabilizer.gate import identity, policy, waiting
from stabilizer.gate.breaker import watched
from stabilizer.gate.control import Control
from stabilizer.gate.headers import Headers
from stabilizer.gate.identity import Caller
from stabilizer.gate.ticket import Ticket
from stabilizer.gate.waiting import Outcome
from stabilizer.pool import Pool

T = TypeVar("T")
WAIT_S = 2.0
NO_HEADERS = Headers(())


class Desk:
    """The gate and the pool, for work that no request of its own has asked for."""

    def __init__(self, control: Control, pool: Pool) -> None:
        self._control = control
        self._pool = pool

    async def run(self, act: Callable[[], T]) -> T:
        """What `act` returns in a thread of the pool, under a critical slot.

        Raises `Unavailable` if there is no slot within `WAIT_S`, or the database's breaker is open,
        and what `act` raises.
        """
        control = self._control
        ticket = Ticket("critical", 1, control.clock() + WAIT_S)
        if not control.slots.take(ticket):
            waited = waiting.wait(control.slots, ticket, WAIT_S, _for_ever)
            control.ask_for_slots()
            if await waited is not Outcome.GRANTED:
                raise Unavailable
        try:
            done = await self._pool.submit(
                lambda: watched(control.writes, lambda: _with_live_connections(act)), urgent=True
            )
        finally:
            control.slots.leave(ticket)
        if done is None:
            raise Unavailable
        return done[0]

    async def charge(self, name: str, wait: Wait) -> Verdict:
        """Charge a device for what policy `name` limits, as if it had come by HTTP."""
        caller = Caller(wait.context.address, NO_HEADERS, {})
        caller.code, caller.tenant = wait.device, f"t{wait.device.tenant_id}"
        charges = identity.charges(policy.table.policies[name], caller)
        limiter = self._control.limiter
        return limiter.recall(charges) or await limiter.charge(charges)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def _with_live_connections(act: Callable[[], T]) -> tuple[T]:
    close_old_connections()
    return (act(),)
