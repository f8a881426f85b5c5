"""The one way to charge limits: together, all or nothing, and without waiting for a dead store."""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from ratelimit import revision
from ratelimit import store as store_module
from ratelimit.gcra import SECOND_US, Charge, Verdict, quota
from ratelimit.local import LocalLimits
from ratelimit.memory import Refusals
from ratelimit.scripts import Script
from ratelimit.settling import Settling
from ratelimit.store import Store, StoreAway

#: Requests in one script call: a longer one would look like a slow store.
BATCH = 100
CHARGE = Script(Path(__file__).parent / "lua" / "charge.lua")
#: How long charges wait for each other when nobody is in a hurry.
GATHER_S = 0.015
NEVER = float("-inf")
UNLIMITED = Verdict(True, ())

Pending = tuple[Sequence[Charge], asyncio.Future[Verdict]]


class Limiter:
    """Charges limits in Redis, or this process's share of them while Redis is away.

    A charge whose answer was lost counts locally and is not retried, for it may have been made.
    Never raises for a missing store.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.local = LocalLimits(clock=clock)
        self.refusals = Refusals(clock=clock)
        self.settling = Settling(store, self.local, self._charge_each)
        store.on_return = self.settling.settle
        #: Whether requests that come now have to wait for something else in any case.
        self.unhurried: Callable[[], bool] = lambda: False
        self._batches: WeakKeyDictionary[asyncio.AbstractEventLoop, Batches] = WeakKeyDictionary()

    async def charge(self, charges: Sequence[Charge], *, urgent: bool = False) -> Verdict:
        """Decides these charges in one script call with all that arrive at the same time.

        What is urgent waits for no others, even where nobody else is in a hurry.
        """
        if not charges:
            return UNLIMITED
        if refusal := self._refuse_early(charges):
            return refusal
        return await self._batches_here().add(charges, urgent)

    async def charge_beside(
        self, charges: Sequence[Charge], shadow: Sequence[Charge], *, urgent: bool = False
    ) -> tuple[Verdict, Verdict]:
        """`charge`, and what `shadow` would have got, which has accounts of its own.

        Both go in one script call.
        """
        if not charges:
            return UNLIMITED, UNLIMITED
        if refusal := self._refuse_early(charges):
            return refusal, refusal
        batches = self._batches_here()
        enforced, counted = await asyncio.gather(
            batches.add(charges, urgent), batches.add(shadow, urgent)
        )
        return enforced, counted

    def charge_beside_now(
        self, charges: Sequence[Charge], shadow: Sequence[Charge]
    ) -> tuple[Verdict, Verdict]:
        """`charge_beside` for threads."""
        if not charges:
            return UNLIMITED, UNLIMITED
        if refusal := self._refuse_early(charges):
            return refusal, refusal
        try:
            answer = self.store.run(CHARGE, *packed([charges, shadow]))
        except StoreAway:
            return self.locally(charges), self.locally(shadow)
        enforced, counted = answer.decode().split(" ")
        return self.verdict(charges, enforced), self.verdict(shadow, counted)

    def charge_now(self, charges: Sequence[Charge]) -> Verdict:
        """Decides these charges; for threads without an event loop."""
        if not charges:
            return UNLIMITED
        if refusal := self._refuse_early(charges):
            return refusal
        try:
            answer = self.store.run(CHARGE, *packed([charges]))
        except StoreAway:
            return self.locally(charges)
        return self.verdict(charges, answer.decode())

    def recall(self, charges: Sequence[Charge]) -> Verdict | None:
        """The refusal these charges are bound to get, from memory, or None: then charge them."""
        return self.refusals.recall(charges)

    async def refund(self, charges: Sequence[Charge]) -> None:
        """Gives these charges back; does nothing in Redis while it is away."""
        returned = self._returned(charges)
        if returned:
            await self.charge(returned)

    def refund_now(self, charges: Sequence[Charge]) -> None:
        """Gives these charges back; does nothing in Redis while it is away."""
        returned = self._returned(charges)
        if returned:
            self.charge_now(returned)

    def locally(self, charges: Sequence[Charge]) -> Verdict:
        """Decides without Redis."""
        return self.local.charge(charges, self.store.processes)

    def verdict(self, charges: Sequence[Charge], word: str) -> Verdict:
        """Reads a word of `charge.lua`'s answer; keeps memory and the local share up to date."""
        numbers = list(map(int, word.split(",")))
        if numbers[0]:
            self.local.warm(charges, self.store.processes)
            slacks_us = numbers[1:]
            return Verdict(
                True,
                tuple([quota(c.limit, us) for c, us in zip(charges, slacks_us, strict=True)]),
            )
        looks = list(zip(charges, numbers[1::2], numbers[2::2], strict=True))
        for charge, _, wait_us in looks:
            if wait_us:
                self.refusals.remember(charge, wait_us / SECOND_US)
        return Verdict(
            False,
            tuple(quota(charge.limit, slack_us, wait_us) for charge, slack_us, wait_us in looks),
            tuple(charge.limit.name for charge, _, wait_us in looks if wait_us),
            max(numbers[2::2]) / SECOND_US,
        )

    def _batches_here(self) -> "Batches":
        loop = asyncio.get_running_loop()
        batches = self._batches.get(loop)
        if batches is None:
            batches = self._batches[loop] = Batches(self, loop)
        return batches

    def _refuse_early(self, charges: Sequence[Charge]) -> Verdict | None:
        """A refusal by the local share, which binds for one window after Redis came back, unless
        it knows all that was decided meanwhile.
        """
        health = self.store.health
        if health.recovered_at == NEVER or not health.asks or self.settling.is_done:
            return None
        age_s = health.recovered_s
        bound = [charge for charge in charges if charge.limit.window_s > age_s]
        verdict = self.local.check(bound, self.store.processes)
        return None if verdict.allowed else verdict

    def _charge_each(self, charges: Sequence[Charge]) -> None:
        """In Redis, whatever it says of each: of what has no room there nothing is left anyway."""
        self.store.run(CHARGE, *packed([[charge] for charge in charges]))

    def _returned(self, charges: Sequence[Charge]) -> list[Charge]:
        self.refusals.forget(charges)
        return [Charge(limit, key, -cost) for limit, key, cost in charges]


class Batches:
    """What one event loop has to charge: a script call under way, the rest waiting for the next."""

    def __init__(self, limiter: Limiter, loop: asyncio.AbstractEventLoop) -> None:
        self._limiter = limiter
        self._loop = loop
        self._waiting: deque[Pending] = deque()
        self._sender: asyncio.Task[None] | None = None
        #: Set when one comes who waits for no others.
        self._hurry = asyncio.Event()

    def add(self, charges: Sequence[Charge], urgent: bool) -> asyncio.Future[Verdict]:
        """The verdict to await."""
        verdict: asyncio.Future[Verdict] = self._loop.create_future()
        self._waiting.append((charges, verdict))
        if urgent:
            self._hurry.set()
        if self._sender is None:
            # A task begins after all that is ready now: what arrived together goes together.
            self._sender = self._loop.create_task(self._send())
        return verdict

    async def _send(self) -> None:
        try:
            while self._waiting:
                if self._limiter.unhurried():
                    # More will have come by then, and a call costs the same for all of them.
                    await self._gather()
                self._hurry.clear()
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                await self._decide(batch)
        finally:
            self._sender = None

    async def _gather(self) -> None:
        timer = self._loop.call_later(GATHER_S, self._hurry.set)
        await self._hurry.wait()
        timer.cancel()

    async def _decide(self, batch: list[Pending]) -> None:
        limiter = self._limiter
        try:
            keys, args = packed(_charges(batch))
            answer = await limiter.store.run_async(CHARGE, keys, args)
            words = answer.decode().split(" ")
            verdicts = [limiter.verdict(*each) for each in zip(_charges(batch), words, strict=True)]
        except StoreAway:
            # Those who came meanwhile have waited long enough as well.
            batch.extend(self._waiting)
            self._waiting.clear()
            verdicts = [limiter.locally(charges) for charges in _charges(batch)]
        except Exception as error:
            # A mistake of ours; nobody shall wait for ever because of it.
            for _, verdict in batch:
                if not verdict.done():
                    verdict.set_exception(error)
            return
        for (_, verdict), decided in zip(batch, verdicts, strict=True):
            if not verdict.done():
                verdict.set_result(decided)


def _charges(batch: list[Pending]) -> list[Sequence[Charge]]:
    return [charges for charges, _ in batch]


def packed(requests: Sequence[Sequence[Charge]]) -> tuple[list[bytes], list[bytes]]:
    """KEYS and ARGV of `charge.lua`; as bytes, which redis-py packs in a third of the time."""
    keys: list[bytes] = []
    shapes: list[str] = []
    for charges in requests:
        keys += [charge.key.encode() for charge in charges]
        units = [c.limit.unit if c.cost == 1 else c.limit.priced(c.cost) for c in charges]
        shapes.append(" ".join(units))
    return keys, [(";".join(shapes) + ";").encode()]


_shared: Limiter | None = None
_making = threading.Lock()


def shared() -> Limiter:
    """This process's limiter on `settings.REDIS_URL`."""
    global _shared
    if _shared is None:
        with _making:
            if _shared is None:
                _shared = Limiter(store_module.shared())
                revision.on_change(_shared.refusals.clear)
                revision.on_look(_shared.settling.look)
    return _shared


def _forget() -> None:
    global _shared, _making
    _shared, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
