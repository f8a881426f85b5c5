"""The gateway of one process: who waits is looked at in batches, and told.

No waiting device costs a query of its own, nor a subscription: one query reads all who came in the
last `ROUND_S`, another all of whom a change was heard meanwhile.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError

from audit import context, floods, identifier
from audit.context import RequestContext
from pairing import creation, delivery, limits, standing
from pairing.delivery import Delivery
from pairing.device_code import DeviceCode
from pairing.models import State
from pairing.refusal import Refusal
from pairing.standing import Standing
from ratelimit.connections import Caps, Connections
from ratelimit.gcra import Verdict
from ratelimit.herd import Herd
from ratelimit.store import Store
from realtime import protocol
from realtime.protocol import End, Message
from realtime.subscription import Subscription
from realtime.wait import Wait
from realtime.waiters import Waiters

logger = logging.getLogger(__name__)
T = TypeVar("T")

ROUND_S = 0.050
#: Pairings in one query. More would hold the interpreter for longer than a push may wait.
BATCH = 200
#: Deliveries that one thread makes one after the other before the first of them is told.
DELIVERIES = 4
LOOK_AGAIN_S = 15.0
#: After a query that failed.
AGAIN_S = 1.0
#: New connections per second that a process of a small machine takes with ease.
RETURNS_PER_S = 500
DRAIN_S = 10.0
SLICE_S = 0.25
#: When the sixth connection of a device may try again: by then its dead ones have been found.
PATIENT_MS = (5000, 15000)
PATIENT = (End.TOO_MANY_CONNECTIONS, End.TOO_MANY_STRANGERS)
ENDED: dict[State, type[protocol.Denied | protocol.Expired | protocol.Revoked]] = {
    State.DENIED: protocol.Denied,
    State.EXPIRED: protocol.Expired,
    State.REVOKED: protocol.Revoked,
}

#: Has a thread call a function, under a slot of the gate; raises `Unavailable`.
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
#: Charges a device for what the named policy limits.
Charge = Callable[[str, Wait], Awaitable[Verdict]]


class Unavailable(Exception):
    """There was no slot in time."""


class Gateway:
    """Joins waiting devices with what becomes of their pairings. Lives in one event loop."""

    def __init__(
        self, store: Store, run: Run, charge: Charge, *, caps: Caps, redis_url: str | None = None
    ) -> None:
        self.connections = Connections(store, caps)
        self.waiters = Waiters()
        #: Every open connection, whether it waits already or has not said yet who it is.
        self.wires: set[Any] = set()
        self.draining = False
        self._herd = Herd()
        self._run = run
        self._charge = charge
        self._subscription = Subscription(
            redis_url or settings.REDIS_URL, self._hear, self.waiters.look_at_all
        )
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

    async def drain(self) -> None:
        """Say bye to everybody, in slices over `DRAIN_S`, each with a time of its own to return."""
        self.draining = True
        leaving = list(self.wires)
        slices = max(1, round(DRAIN_S / SLICE_S))
        for number in range(slices):
            for wire in leaving[number::slices]:
                wire.end(End.DRAINING, self.return_ms())
            if not self.wires:
                break
            await asyncio.sleep(SLICE_S)

    def return_ms(self, end: End = End.DRAINING) -> int:
        """When one more may come back: not all at once, and not sooner than they can be taken."""
        if end in PATIENT:
            return random.randint(*PATIENT_MS)  # noqa: S311 - jitter, no secret
        second = self._herd.retry_after("connection", RETURNS_PER_S)
        return int((second - 1 + random.uniform(0.1, 1)) * 1000)  # noqa: S311 - jitter, no secret

    def record_refusal(self, end: End, key: str) -> None:
        """Leave a refused connection in the trail, as the gate does with requests."""
        floods.shared().record(
            (end.code, key),
            "gate.refused",
            "refused",
            detail={"policy": "realtime", "limits": [end.code], "keys": [key]},
            context=RequestContext(identifier.new()),
        )

    def join(self, wait: Wait) -> None:
        """Have a device told where it stands, and of every change until it leaves."""
        self._herd.served("connection")
        self.waiters.join(wait)

    def leave(self, wait: Wait) -> None:
        self.waiters.leave(wait)

    async def renew(self, wait: Wait) -> None:
        """Give the device a new code; the change is heard like any other."""
        if await self._admitted("pairing.renew", wait):
            act = partial(creation.renew, wait.device, udid=wait.udid)
            outcome = await self._act(wait, act)
            if outcome is not None and not isinstance(outcome, Refusal):
                self._look_now(wait)

    async def acknowledge(self, wait: Wait) -> None:
        """The device has its credentials safe: there is nothing more to wait for."""
        if await self._admitted("pairing.ack", wait):
            act = partial(_acknowledge, wait.device, wait.udid)
            if await self._act(wait, act) is True:
                wait.wire.end(End.FINISHED)

    async def _admitted(self, policy: str, wait: Wait) -> bool:
        verdict = await self._charge(policy, wait)
        if not verdict.allowed:
            code = "limits_unavailable" if verdict.unavailable else "rate_limited"
            _complain(wait, code, verdict.retry_after_s)
        return verdict.allowed

    async def _act(self, wait: Wait, act: Callable[[], T | Refusal]) -> T | Refusal | None:
        """What `act` makes of a pairing; None if it could not be done, as the device was told."""
        try:
            outcome: T | Refusal = await self._run(_for(wait, act))
        except Unavailable:
            _complain(wait, "overloaded", AGAIN_S)
            return None
        except DatabaseError as error:
            logger.warning("no act of a device can be done: %s", type(error).__name__)
            _complain(wait, "database_unavailable", AGAIN_S)
            return None
        if isinstance(outcome, Refusal):
            _complain(wait, outcome.code, outcome.retry_after_s)
        return outcome

    def _hear(self, pairing: Any, version: int) -> None:
        self.waiters.hear(pairing, version)
        self._read_news()

    def _look_now(self, wait: Wait) -> None:
        self.waiters.look_at(wait.digest)

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
        while True:
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
            verdicts = await asyncio.gather(
                *(self._admitted("pairing.credentials", wait) for wait, _ in approved)
            )
            admitted = [each for each, is_in in zip(approved, verdicts, strict=True) if is_in]
            acts = [_for(wait, partial(_collect, wait)) for wait, _ in admitted]
            outcomes: list[Delivery | Refusal] = []
            if acts:
                outcomes = await self._run(lambda: [act() for act in acts])
        except (DatabaseError, Unavailable) as error:
            logger.warning("credentials cannot be delivered: %s", type(error).__name__)
            self._try_again(approved)
        else:
            for (wait, stands), outcome in zip(admitted, outcomes, strict=True):
                self._hand_over(wait, stands, outcome)
        finally:
            for wait, _ in approved:
                wait.delivering = False

    def _try_again(self, approved: Sequence[tuple[Wait, Standing]]) -> None:
        loop = asyncio.get_running_loop()
        for wait, _ in approved:
            loop.call_later(AGAIN_S, self.waiters.look_at, wait.digest)

    def _hand_over(self, wait: Wait, stands: Standing, outcome: Delivery | Refusal) -> None:
        if isinstance(outcome, Delivery):
            # The delivery is one change more than the approval that it was made of.
            wait.version = stands.version + (stands.state is State.APPROVED)
            members = {name: getattr(outcome, name) for name in Delivery.__slots__}
            wait.wire.tell(protocol.Approved(version=wait.version, **members))
        elif outcome.code in CHANGED_MEANWHILE:
            self.waiters.look_at(wait.digest)
        else:
            if not outcome.retry_after_s:
                # It is not tried again before something changes.
                wait.version = stands.version
            _complain(wait, outcome.code, outcome.retry_after_s)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)


#: Refusals of a delivery that the next look at the pairing explains.
CHANGED_MEANWHILE = frozenset({"authorization_pending", "expired", "already_collected"})


def _collect(wait: Wait) -> Delivery | Refusal:
    return delivery.collect(wait.device, udid=wait.udid)


def _acknowledge(device: DeviceCode, udid: str) -> Refusal | bool:
    return delivery.acknowledge(device, udid=udid) or True


def _for(wait: Wait, act: Callable[[], T]) -> Callable[[], T]:
    """`act`, whose records in the trail say for whom it was done."""

    def bound() -> T:
        with context.bound(wait.context):
            return act()

    return bound


def _pending(stands: Standing) -> Message:
    return protocol.Pending(
        version=stands.version,
        expires_in=int(stands.left_s),
        interval=limits.current(limits.INTERVAL).window_s,
        user_code=stands.user_code,
    )


def _complain(wait: Wait, code: str, retry_after_s: float) -> None:
    retry_after_ms = round(retry_after_s * 1000) or None
    wait.wire.tell(protocol.Error(code=code, retry_after_ms=retry_after_ms))
