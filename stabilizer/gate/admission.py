"""The gate for ASGI: a request gets in, waits for its slot, or hears when to return."""

from collections.abc import Awaitable, Callable, Sequence

from ratelimit.gcra import Charge
from stabilizer.gate import answers, body, copies, identity, trial, waiting
from stabilizer.gate.answers import Answer, Header, Message
from stabilizer.gate.arrival import ADMISSION, BREAKER, RELEASE, Arrival
from stabilizer.gate.body import EMPTY, Body, Patience, Receive, Replay, Unread
from stabilizer.gate.control import Control
from stabilizer.gate.copies import Copy, Keeping
from stabilizer.gate.identity import Caller
from stabilizer.gate.ticket import Ticket
from stabilizer.gate.waiting import Outcome
from stabilizer.serving import Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
#: WebSocket close code (RFC 6455's registry).
TRY_AGAIN_LATER = 1013


class Gate:
    """ASGI middleware. What it refuses reaches neither `app` nor a thread nor the database."""

    def __init__(self, app: Application, control: Control | None = None) -> None:
        self.app = app
        self.control = control or Control()
        self.patience = Patience()

    async def start(self) -> None:
        """Read the configuration and lease slots; without lifespan the first request does it."""
        await self.control.start()

    async def stop(self) -> None:
        """Give the leased slots back."""
        await self.control.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not self.control.started:
                await self.control.start()
            await self._admit(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        else:
            await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.control.observer.arrived()
        repeat = self.control.repeats.find(scope)
        arrival = repeat.arrival.again() if repeat else self._arrive(scope)
        content = await self._body(arrival, receive)
        if repeat:
            if content == repeat.content:
                await _refuse(
                    arrival, send, self.control.refusals.over_limits_still(arrival, repeat)
                )
                return
            arrival = self._arrive(scope)
        if isinstance(content, Unread):
            if content is Unread.CLIENT_GONE:
                self.control.observer.left(arrival.policy)
            else:
                await _refuse(arrival, send, self.control.refusals.unread(arrival, content))
            return
        try:
            await self._judge(arrival, content, scope, receive, send)
        finally:
            content.close()

    async def _judge(
        self, arrival: Arrival, content: Body, scope: Scope, receive: Receive, send: Send
    ) -> None:
        control, refusals = self.control, self.control.refusals
        caller = control.identify(arrival, content.small)
        if isinstance(caller, Answer):
            await _refuse(arrival, send, caller)
            return
        charges = identity.charges(arrival.policy, caller)
        ticket = control.ticket(arrival, caller)
        if verdict := control.limiter.recall(charges):
            repeat = refusals.over_limits_known(arrival, caller, content, charges, verdict)
            control.repeats.remember(scope, repeat, verdict.retry_after_s)
            await _refuse(arrival, send, repeat.answer)
            return
        breaker = control.breaker(arrival)
        key = copies.key(arrival, caller, scope["query_string"])
        copy, renews = control.copy(key, breaker)
        if copy is not None:
            await self._give_again(arrival, caller, ticket, charges, copy, send)
            return
        if control.refuses(arrival) and not renews:
            await _refuse(arrival, send, control.refusals.pressed(arrival, caller, ticket))
            return
        if breaker is not None and not breaker.admits():
            await _refuse(arrival, send, refusals.unavailable(arrival, caller, ticket, breaker))
            return
        if control.slots.is_hopeless(ticket):
            await _refuse(arrival, send, refusals.overloaded(arrival, caller, ticket))
            return
        with control.slots.expecting(ticket):
            if arrival.shadow is None:
                verdict = await control.limiter.charge(charges)
            else:
                verdict = await trial.charge(
                    control.limiter, control.observer, arrival, caller, charges
                )
        if not verdict.allowed:
            await _refuse(arrival, send, refusals.over_limits(arrival, caller, charges, verdict))
            return
        if content is not EMPTY:
            receive = Replay(content, receive)
        if not control.slots.take(ticket):
            receive = receive if isinstance(receive, Replay) else Replay(EMPTY, receive)
            outcome = await self._wait(ticket, receive)
            if outcome is not Outcome.GRANTED:
                await self._turn_away(arrival, caller, ticket, charges, outcome, send)
                return
        added = answers.added(arrival.request_id, verdict)
        answering = Answering(send, added, control, ticket)
        _introduce(scope, arrival)
        scope[RELEASE] = answering.release
        scope[BREAKER] = breaker
        scope[ADMISSION] = control.admission(arrival, caller, verdict.quotas)
        answer = Keeping(answering, control.copies, key) if key else answering
        try:
            await self.app(scope, receive, answer)
        finally:
            control.slots.leave(ticket)
            control.herd.served(ticket.kind)
            control.ended(arrival, ticket, answering.status, answering.began_at)
            if refunds := control.refundable(arrival, charges, answering.status):
                await control.limiter.refund(refunds)

    async def _give_again(
        self,
        arrival: Arrival,
        caller: Caller,
        ticket: Ticket,
        charges: Sequence[Charge],
        copy: Copy,
        send: Send,
    ) -> None:
        """Answer with a copy: charged like any answer, and without slot, thread and query."""
        control = self.control
        verdict = await control.limiter.charge(charges)
        if not verdict.allowed:
            await _refuse(
                arrival, send, control.refusals.over_limits(arrival, caller, charges, verdict)
            )
            return
        for message in control.given_again(arrival, caller, ticket, copy, verdict):
            await send(message)

    def _arrive(self, scope: Scope) -> Arrival:
        peer, _port = scope.get("client") or ("", 0)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return self.control.arrive(scope["method"], path, peer, scope["headers"])

    async def _body(self, arrival: Arrival, receive: Receive) -> Body | Unread:
        if not arrival.headers.has_body:
            return EMPTY
        if body.announced_above(arrival.headers[b"content-length"], arrival.body_limit):
            return Unread.TOO_LARGE
        return await self.patience.read(receive, arrival.body_limit)

    async def _wait(self, ticket: Ticket, receive: Replay) -> Outcome:
        control = self.control
        began_at = control.clock()
        wait_s = ticket.deadline - began_at
        waited = waiting.wait(control.slots, ticket, wait_s, receive.disconnected)
        control.ask_for_slots()
        outcome = await waited
        ticket.waited_s = control.clock() - began_at
        control.delays.count(ticket)
        return outcome

    async def _turn_away(
        self,
        arrival: Arrival,
        caller: Caller,
        ticket: Ticket,
        charges: Sequence[Charge],
        outcome: Outcome,
        send: Send,
    ) -> None:
        """No slot in time. Who got nothing pays nothing, and who has left hears nothing."""
        if outcome is Outcome.CLIENT_GONE:
            self.control.observer.left(arrival.policy)
            return
        await _refuse(arrival, send, self.control.refusals.overloaded(arrival, caller, ticket))
        await self.control.limiter.refund([*charges, *arrival.beside])


class Answering:
    """`send` of an admitted request: adds the gate's headers, frees slots no thread works for."""

    __slots__ = ("_control", "_headers", "_send", "_ticket", "began_at", "status")

    def __init__(self, send: Send, headers: list[Header], control: Control, ticket: Ticket) -> None:
        self._send = send
        self._headers = headers
        self._control = control
        self._ticket = ticket
        self.status = 0
        #: When the answer began, by the gate's clock.
        self.began_at = 0.0

    def release(self) -> None:
        """No thread works for the answer any more; its client may take its time to read it."""
        self._control.slots.leave(self._ticket)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.began_at = message["status"], self._control.clock()
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.release()
        await self._send(message)


def _introduce(scope: Scope, arrival: Arrival) -> None:
    """Tell the application who came, and how, before proxies of ours."""
    peer, _port = scope.get("client") or ("", 0)
    if arrival.address != peer:
        scope["client"] = (arrival.address, 0)
    if arrival.is_https:
        scope["scheme"] = "https"


async def _refuse(arrival: Arrival, send: Send, answer: Answer) -> None:
    for message in answer.messages(answers.added(arrival.request_id)):
        await send(message)
