"""The gateway of one process: who waits is looked at in batches, and told.

No waiting device costs a query of its own, nor a subscription: one query reads all who came in the
last `ROUND_S`, another all of whom a change was heard meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from audit import clock
from pairing import limits, standing
from pairing.delivery import Delivery
from pairing.models import State
from pairing.refusal import Refusal
from pairing.standing import Standing
from ratelimit.connections import Caps, Connections
from ratelimit.store import Store
from realtime import protocol
from realtime.acts import AGAIN_S, Acts, Charge, Run, Unavailable, complain
from realtime.protocol import End, Message
from realtime.returns import DRAIN_S, Returns
from realtime.subscription import Subscription
from realtime.wait import Wait
from realtime.waiters import Waiters

logger = logging.getLogger(__name__)

ROUND_S = 0.050
#: Pairings in one query. More would hold the interpreter for longer than a push may wait.
BATCH = 200
#: Deliveries that one thread makes one after the other before the first of them is told.
DELIVERIES = 4
LOOK_AGAIN_S = 15.0
LOOK_EVERY_S = 1.0
ENDED: dict[State, type[protocol.Denied | protocol.Expired | protocol.Revoked]] = {
    State.DENIED: protocol.Denied,
    State.EXPIRED: protocol.Expired,
    State.REVOKED: protocol.Revoked,
}
#: Refusals of a delivery that the next look at the pairing explains.
CHANGED_MEANWHILE = frozenset({"authorization_pending", "expired", "already_collected"})


class Gateway:
    """Joins waiting devices with what becomes of their pairings. Lives in one event loop."""

    def __init__(
        self,
        store: Store,
        run: Run,
        charge: Charge,
        *,
        caps: Caps,
        on_push: Callable[[float], object] = lambda delay_s: None,
        on_refusal: Callable[[str], object] = lambda code: None,
    ) -> None:
        """`on_push` hears how long after an approval its credentials were sent to a device that
        had been waiting; `on_refusal` the code of each connection that was refused.
        """
        self.connections = Connections(store, caps)
        self.returns = Returns(on_refusal=on_refusal)
        self.waiters = Waiters()
        self._run = run
        self._on_push = on_push
        self._acts = Acts(run, charge)
        self._subscription = Subscription(settings.REDIS_URL, self._hear, self.waiters.look_at_all)
        self._rounds: asyncio.Task[None] | None = None
        self._works: set[asyncio.Task[None]] = set()
        self._reading_news = False

    async def start(self) -> None:
        self.connections.start()
        self._subscription.start()
        self._rounds = asyncio.create_task(self._look_around(), name="rounds")

    async def stop(self) -> None:
        """End what `start` began, after the work under way."""
        if self._rounds is not None:
            self._rounds.cancel()
        await self._subscription.stop()
        if self._works:
            await asyncio.wait(self._works, timeout=DRAIN_S)
        await self.connections.stop()

    def join(self, wait: Wait) -> None:
        """Have a device told where it stands, and of every change until it leaves."""
        self.returns.served()
        self.waiters.join(wait)

    def leave(self, wait: Wait) -> None:
        self.waiters.leave(wait)

    async def renew(self, wait: Wait) -> None:
        """Give the device a new code, and tell it like any other change."""
        if await self._acts.renew(wait):
            self.waiters.look_at(wait.digest)

    async def acknowledge(self, wait: Wait) -> None:
        """The device has its credentials safe: there is nothing more to wait for."""
        if await self._acts.acknowledge(wait):
            wait.wire.end(End.FINISHED)

    def _hear(self, pairing: UUID, version: int) -> None:
        self.waiters.hear(pairing, version)
        self._read_news()

    def _read_news(self) -> None:
        if self.waiters.has_news and not self._reading_news:
            self._reading_news = True
            self._begin(self._read_all_news())

    async def _read_all_news(self) -> None:
        # What arrives together is read together: a task begins after all that is ready now.
        try:
            while digests := self.waiters.take_news(BATCH):
                await self._read(digests)
        finally:
            self._reading_news = False

    async def _look_around(self) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            if loop.time() >= look_at:
                # Those of a whole second together: a query costs more than its rows.
                look_at = loop.time() + LOOK_EVERY_S
                self.waiters.look_again(loop.time() - LOOK_AGAIN_S)
            # One at a time: there is always a thread left for those of whom there is news.
            if digests := self.waiters.take_newcomers(BATCH):
                await self._read(digests)
            await asyncio.sleep(ROUND_S)

    async def _read(self, digests: Sequence[str]) -> None:
        try:
            found: dict[str, Standing] = await self._run(partial(standing.of, digests))
        except (DatabaseError, Unavailable) as error:
            logger.warning("pairings cannot be read: %s", type(error).__name__)
            await asyncio.sleep(AGAIN_S)
            self.waiters.give_back(digests)
            return
        except BaseException:
            self.waiters.give_back(digests)
            raise
        self._settle(digests, found)

    def _settle(self, digests: Sequence[str], found: dict[str, Standing]) -> None:
        loop = asyncio.get_running_loop()
        approved: list[tuple[Wait, Standing]] = []
        for wait, stands in self.waiters.settle(digests, found, loop.time()):
            if stands is None or stands.udid != wait.udid:
                wait.wire.end(End.UNAUTHORIZED)
                continue
            if not wait.answered and wait.version > stands.version:
                # Whoever claims to know more than there is knows nothing.
                wait.version = 0
            if stands.state not in (State.APPROVED, State.DELIVERED):
                self._tell(wait, stands)
            elif stands.version > wait.version and not wait.delivering:
                wait.delivering = True
                approved.append((wait, stands))
            wait.answered = True
        for stands in found.values():
            if 0 < stands.left_s < LOOK_AGAIN_S:
                loop.call_later(stands.left_s, self.waiters.look_at, stands.digest)
        for first in range(0, len(approved), DELIVERIES):
            self._begin(self._deliver(approved[first : first + DELIVERIES]))
        self._read_news()

    def _tell(self, wait: Wait, stands: Standing) -> None:
        if stands.state is State.PENDING:
            if stands.version > wait.version or not wait.answered:
                wait.version = stands.version
                wait.wire.tell(_pending(stands))
            return
        if message := ENDED.get(stands.state):
            wait.version = stands.version
            wait.wire.tell(message(version=stands.version))
        wait.wire.end(End.FINISHED)

    async def _deliver(self, approved: Sequence[tuple[Wait, Standing]]) -> None:
        try:
            outcomes = await self._acts.deliver([wait for wait, _ in approved])
        except (DatabaseError, Unavailable) as error:
            logger.warning("credentials cannot be delivered: %s", type(error).__name__)
            for wait, _ in approved:
                self._look_later(wait)
        else:
            for (wait, stands), outcome in zip(approved, outcomes, strict=True):
                if outcome is not None:
                    self._hand_over(wait, stands, outcome)
        finally:
            for wait, _ in approved:
                wait.delivering = False

    def _hand_over(self, wait: Wait, stands: Standing, outcome: Delivery | Refusal) -> None:
        if isinstance(outcome, Delivery):
            # The delivery is one change more than the approval that it was made of.
            wait.version = stands.version + (stands.state is State.APPROVED)
            members = {name: getattr(outcome, name) for name in Delivery.__slots__}
            wait.wire.tell(protocol.Approved(version=wait.version, **members))
            self._count_push(wait, stands)
        elif outcome.code in CHANGED_MEANWHILE:
            self.waiters.look_at(wait.digest)
        else:
            if not outcome.retry_after_s:
                # It is not tried again before something changes.
                wait.version = stands.version
            complain(wait, outcome.code, outcome.retry_after_s)

    def _count_push(self, wait: Wait, stands: Standing) -> None:
        approved_at = stands.approved_at
        if approved_at is None or wait.since > approved_at:
            return

        def count() -> None:
            # Another host has approved it: its clock may be ahead.
            self._on_push(max(0.0, (clock.now() - approved_at).total_seconds()))

        # The wire's own task, begun by `tell`, writes the message before this is called.
        asyncio.get_running_loop().call_soon(count)

    def _look_later(self, wait: Wait) -> None:
        asyncio.get_running_loop().call_later(AGAIN_S, self.waiters.look_at, wait.digest)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)


def _pending(stands: Standing) -> Message:
    return protocol.Pending(
        version=stands.version,
        expires_in=int(stands.left_s),
        interval=limits.current(limits.INTERVAL).window_s,
        user_code=stands.user_code,
    )
