"""Admission control: what the doors for ASGI and for WSGI share."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, connections

from audit import floods
from audit.floods import Floods
from ratelimit import flags, revision
from ratelimit import limiter as limiters
from ratelimit.gcra import Charge, Quota, Verdict
from ratelimit.herd import Herd
from ratelimit.leases import SlotLease
from ratelimit.limiter import Limiter
from stabilizer.gate import answers, identity
from stabilizer.gate.adaptive import AdaptiveLimit, Limit
from stabilizer.gate.address import Proxies
from stabilizer.gate.answers import Answer, Message
from stabilizer.gate.arrival import Admission, Arrival
from stabilizer.gate.breaker import READS, WRITES, Breaker, Shared, State
from stabilizer.gate.candidate import Candidate
from stabilizer.gate.copies import Copies, Copy, Key
from stabilizer.gate.identity import Caller
from stabilizer.gate.observer import Observer
from stabilizer.gate.policy import ALL_BUT_CRITICAL
from stabilizer.gate.pressure import Delays, Pressure, Signals
from stabilizer.gate.refusals import Refusals
from stabilizer.gate.repeats import Repeats
from stabilizer.gate.shedding import Shedding
from stabilizer.gate.slots import Clock, Slots
from stabilizer.gate.ticket import Ticket

logger = logging.getLogger(__name__)


#: A process that has never reached Redis takes no more than one of so many would get.
COLD_FLEET = 16
#: Methods of requests that change nothing.
READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: Slots per thread: one request runs, one is ready to.
RUN_AHEAD = 2
#: And as many that only what is critical gets: ordinary requests that wait for a thread, or for
#: their turn, are not in its way.
URGENT = 2


def follow_configuration() -> None:
    """Read what requests are judged by, now and whenever it changes."""
    revision.start()
    revision.refresh()


class Control:
    """One process's limits, slots and memory: what is started and stopped, and held together.

    `configure` reads what requests are judged by; it runs in a thread, for it asks the database.
    """

    def __init__(
        self,
        limiter: Limiter | None = None,
        *,
        cap: int | None = None,
        threads: int | None = None,
        configure: Callable[[], object] = follow_configuration,
        trail: Floods | None = None,
        herd: Herd | None = None,
        adaptive: Limit | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        cap = settings.GATE_SLOTS if cap is None else cap
        threads = settings.SERVING_THREADS if threads is None else threads
        cold = min(threads, max(1, cap // COLD_FLEET))
        self.limiter = limiter or limiters.shared()
        self.most_ordinary = threads * RUN_AHEAD
        self.useful = self.most_ordinary + threads * URGENT
        self.slots = Slots(cold, settings.GATE_QUEUE_LENGTH, clock)
        self.adaptive: Limit = adaptive or AdaptiveLimit(self.most_ordinary, clock)
        self.slots.narrow(self.adaptive.limit)
        self.lease = SlotLease(
            self.limiter.store,
            cap,
            self._demand,
            idle=threads,
            cold_share=cold,
            on_share=self._resize,
            clock=clock,
        )
        self.limiter.unhurried = lambda: self.slots.waiting > 0
        self.herd = herd or Herd(clock)
        self.clock = clock
        self.proxies = Proxies(settings.TRUSTED_PROXIES)
        self.observer = Observer()
        self.reads, self.writes = Breaker(READS, clock), Breaker(WRITES, clock)
        self.breakers = Shared(
            self.limiter.store,
            (self.reads, self.writes),
            waiting=lambda: self.slots.waiting,
            clock=clock,
        )
        self.delays = Delays()
        self.shedding = Shedding(clock)
        self.pressure = Pressure(
            self.limiter.store,
            self.lease.process,
            self._signals,
            settings.GATE_QUEUE_WAIT_MS / 1000,
            clock,
        )
        self._looking: asyncio.Task[None] | None = None
        self._pressing: asyncio.Task[None] | None = None
        self._watches = {"breakers": self.breakers.hold_now, "pressure": self.pressure.hold_now}
        self._watching: list[threading.Thread] = []
        self.started = False
        #: Of `slots`, where several threads use them; the only thread of an event loop needs none.
        self.lock = threading.Lock()
        self._stopped = threading.Event()
        self._starting_now = threading.Lock()
        self._holder: threading.Thread | None = None
        self._configure = configure
        self._starting: asyncio.Task[None] | None = None
        self._trail = trail or floods.shared()
        self.refusals = Refusals(
            self._trail,
            self.observer,
            self.slots,
            self.herd,
            self.shedding,
            lambda: self.pressure.level,
        )
        self.repeats = Repeats(self.limiter.refusals, clock)
        self.copies = Copies(clock)

    async def start(self) -> None:
        """Read the configuration and lease slots. Twice is once."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Give the leased slots back."""
        self.started, self._starting = False, None
        self._trail.close()
        for task in (self._looking, self._pressing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._looking = self._pressing = None
        await self.lease.stop()

    def start_now(self) -> None:
        """`start` for threads: the lease gets one of its own. Twice is once."""
        with self._starting_now:
            if self.started:
                return
            self._configure_or_warn()
            self.lease.refresh_now()
            self._holder = threading.Thread(
                target=self.lease.hold_now, args=[self._stopped], name="slot-lease", daemon=True
            )
            self._holder.start()
            for name, hold in self._watches.items():
                watch = threading.Thread(target=hold, args=[self._stopped], name=name, daemon=True)
                watch.start()
                self._watching.append(watch)
            self.started = True

    def stop_now(self) -> None:
        """`stop` for threads."""
        self._stopped.set()
        self.lease.nudge()
        if self._holder is not None:
            self._holder.join()
        for watch in self._watching:
            watch.join()
        self._trail.close()

    async def _start(self) -> None:
        await asyncio.to_thread(self._read_configuration)
        await self.lease.refresh()
        self.lease.start()
        self._looking = asyncio.create_task(self.breakers.hold(), name="breakers")
        self._pressing = asyncio.create_task(self.pressure.hold(), name="pressure")
        self.started = True

    def _read_configuration(self) -> None:
        try:
            self._configure_or_warn()
        finally:
            connections.close_all()

    def _configure_or_warn(self) -> None:
        try:
            self._configure()
        except DatabaseError:
            # Serve by the defaults, and refuse callers who cannot be identified, until it is back.
            logger.warning("the configuration could not be read yet", exc_info=True)

    def ask_for_slots(self) -> None:
        """Have the lease renewed soon if more slots could be used than this process has."""
        if self.lease.share < self.useful and self.lease.falls_short:
            self.lease.nudge()

    def _signals(self) -> Signals:
        slots = self.slots
        self.shedding.look(flags.taken(flags.NEWCOMERS_SHED, self.pressure.level))
        return Signals(
            self.delays.take(slots.waiting),
            shrunk=slots.waiting > 0 and self.adaptive.settled * 2 <= self.adaptive.maximum,
            open_breakers=sum(each.state is not State.CLOSED for each in (self.reads, self.writes)),
            sheds=self.shedding.sheds,
        )

    def _demand(self) -> tuple[int, int, int]:
        slots = self.slots
        return (
            slots.in_use,
            min(self.useful, slots.demand),
            min(self.useful, slots.urgent_demand),
        )

    def _resize(self, share: int) -> None:
        with self.lock:
            self.slots.resize(min(share, self.useful))
            self.adaptive.maximum = min(self.slots.ordinary, self.most_ordinary)
            self.slots.narrow(self.adaptive.limit)

    def _ticket(self, arrival: Arrival, caller: Caller) -> Ticket:
        """Its claim to slots. Who returns when it was told to goes on with what it began."""
        ticket = arrival.ticket(self.clock(), caller)
        if self.herd.is_due(ticket.names):
            ticket.budget = "begun"
        return ticket

    def arrive(
        self, method: str, path: str, peer: str, pairs: Iterable[tuple[bytes, bytes]]
    ) -> Arrival:
        return Arrival.read(method, path, peer, pairs, self.proxies)

    def candidate(self, arrival: Arrival, content: bytes) -> Candidate | Answer:
        """Who asks, and what that costs; or the refusal of one who shows a forged device_code."""
        try:
            caller = arrival.identify(content)
        except (DatabaseError, SynchronousOnlyOperation):
            # The snapshot of callers was never read: the database has been away since the start.
            return self.refusals.nobody_known(arrival)
        if caller.forged:
            return self.refusals.forged(arrival, caller)
        charges = identity.charges(arrival.policy, caller)
        ticket = self._ticket(arrival, caller)
        return Candidate(arrival, caller, charges, ticket, self._breaker(arrival))

    def turned_down(self, candidate: Candidate) -> Answer | None:
        """The refusal of one for whom nothing has to be asked, because it would be in vain."""
        rank, breaker = candidate.arrival.policy.rank, candidate.breaker
        if rank < self.pressure.refuses_below and not candidate.renews:
            return self.refusals.pressed(candidate)
        if breaker is not None and not breaker.admits():
            return self.refusals.unavailable(candidate, breaker)
        if not self.shedding.admits(candidate.arrival.policy, candidate.ticket):
            return self.refusals.shed(candidate)
        with self.lock:
            is_hopeless = self.slots.is_hopeless(candidate.ticket)
        return self.refusals.overloaded(candidate) if is_hopeless else None

    def copy(self, candidate: Candidate, key: Key | None) -> Copy | None:
        """The answer to give again instead of asking anew.

        One request renews it, and is let in although it is sheddable: it asks for all who come in
        the next seconds. There is none where newcomers are shed and lists refused: a copy takes a
        charge and a long answer, and what is sheddable goes first.
        """
        pressure, breaker = self.pressure, candidate.breaker
        if self.shedding.sheds and candidate.arrival.policy.rank < pressure.refuses_below:
            return None
        if key is None or not flags.taken(flags.LISTS_STALE, pressure.level):
            return None
        copy = self.copies.find(key)
        if copy is None:
            return None
        may_ask = pressure.refuses_below < ALL_BUT_CRITICAL and (not breaker or breaker.admits())
        candidate.renews = may_ask and self.copies.claim(copy)
        return None if candidate.renews else copy

    def given_again(
        self, candidate: Candidate, copy: Copy, verdict: Verdict
    ) -> tuple[Message, Message]:
        """`copy` as the answer to this request, which is counted like any other."""
        arrival, now = candidate.arrival, self.clock()
        self.count_use(arrival, candidate.caller)
        self.observer.ended(arrival.policy, 200, now - candidate.ticket.asked_at, 0)
        return copy.messages(now, answers.added(arrival.request_id, verdict))

    def _breaker(self, arrival: Arrival) -> Breaker | None:
        if not arrival.policy.breaks:
            return None
        return self.reads if arrival.method in READING else self.writes

    def admission(self, candidate: Candidate, quotas: tuple[Quota, ...]) -> Admission:
        """What is left for the application of a request it is given. A key's use is counted."""
        arrival, caller = candidate.arrival, candidate.caller
        self.count_use(arrival, caller)
        return arrival.admission(caller, quotas, self.pressure.level)

    def count_use(self, arrival: Arrival, caller: Caller) -> None:
        """Record that a key was used."""
        if caller.principal is not None and caller.principal.kind == "key":
            self._trail.record(
                ("key.used", caller.principal.id),
                "key.used",
                "ok",
                actor=str(caller.principal),
                tenant=caller.principal.tenant,
                detail={"policy": arrival.policy.name},
                context=arrival.context,
            )

    def refundable(self, candidate: Candidate, status: int) -> list[Charge]:
        """What goes back to a caller whose attempt was answered with `status` (0: with nothing)."""
        failures = candidate.arrival.policy.failures
        if not failures or not status or status in failures:
            return []
        return [charge for charge in candidate.charged if charge.limit.refundable]

    def ended(self, candidate: Candidate, status: int, answered_at: float) -> None:
        """An admitted request is over. Its answer began at `answered_at`, with `status` 0 never."""
        policy, ticket = candidate.arrival.policy, candidate.ticket
        self.delays.count(ticket)
        duration_s = answered_at - ticket.asked_at
        self.observer.ended(policy, status, duration_s, ticket.waited_s)
        if status:
            self.shedding.ended(policy, ticket, duration_s, calm=self.pressure.level == 0)
        if ticket.level != "critical" and ticket.took_s:
            self._adapt(policy.name, ticket, ok=0 < status < 500)

    def _adapt(self, kind: str, ticket: Ticket, ok: bool) -> None:
        before = self.adaptive.limit
        with self.lock:
            self.adaptive.ended(kind, ticket.took_s, ticket.beside, ok)
            if self.adaptive.limit != before:
                self.slots.narrow(self.adaptive.limit)
