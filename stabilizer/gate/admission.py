"""The gate for ASGI: a request gets in, waits for its slot, or hears when to return."""

from collections.abc import Awaitable, Callable

from ratelimit.gcra import Verdict
from stabilizer.gate import answers, body, copies, trial, waiting
from stabilizer.gate.answers import Answer, Header, Message
from stabilizer.gate.arrival import ADMISSION, BREAKER, RELEASE, Arrival
from stabilizer.gate.body import EMPTY, Body, Patience, Receive, Replay, Unread
from stabilizer.gate.candidate import Candidate
from stabilizer.gate.control import Control
from stabilizer.gate.copies import Copy, Keeping, Key
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
        control = self.control
        candidate = control.candidate(arrival, content.small)
        if isinstance(candidate, Answer):
            await _refuse(arrival, send, candidate)
            return
        if verdict := control.limiter.recall(candidate.charges):
            await self._refuse_again(candidate, content, verdict, scope, send)
            return
        key = copies.key(arrival, candidate.caller, scope["query_string"])
        if copy := control.copy(candidate, key):
            await self._give_again(candidate, copy, send)
            return
        if refusal := control.turned_down(candidate):
            await _refuse(arrival, send, refusal)
            return
        with control.slots.expecting(candidate.ticket):
            verdict = await trial.charge(control.limiter, control.observer, candidate)
        if not verdict.allowed:
            await _refuse(arrival, send, control.refusals.over_limits(candidate, verdict))
            return
        if content is not EMPTY:
            receive = Replay(content, receive)
        if not control.slots.take(candidate.ticket):
            receive = receive if isinstance(receive, Replay) else Replay(EMPTY, receive)
            outcome = await self._wait(candidate.ticket, receive)
            if outcome is not Outcome.GRANTED:
                await self._turn_away(candidate, outcome, send)
                return
        await self._serve(candidate, verdict, key, scope, receive, send)

    async def _serve(
        self,
        candidate: Candidate,
        verdict: Verdict,
        key: Key | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        control, arrival, ticket = self.control, candidate.arrival, candidate.ticket
        added = answers.added(arrival.request_id, verdict)
        answering = Answering(send, added, control, ticket)
        _introduce(scope, arrival)
        scope[RELEASE] = answering.release
        scope[BREAKER] = candidate.breaker
        scope[ADMISSION] = control.admission(candidate, verdict.quotas)
        answer = Keeping(answering, control.copies, key) if key else answering
        try:
            await self.app(scope, receive, answer)
        finally:
            control.slots.leave(ticket)
            # By way of `send` it knows the scope: only the garbage collector would find the circle.
            scope.pop(RELEASE, None)
            control.herd.served(ticket.kind)
            control.ended(candidate, answering.status, answering.began_at)
            if refunds := control.refundable(candidate, answering.status):
                await control.limiter.refund(refunds)

    async def _refuse_again(
        self, candidate: Candidate, content: Body, verdict: Verdict, scope: Scope, send: Send
    ) -> None:
        """Refuse one whose charges are known to be refused; its like will cost a look."""
        repeat = self.control.refusals.over_limits_known(candidate, content, verdict)
        self.control.repeats.remember(scope, repeat, verdict.retry_after_s)
        await _refuse(candidate.arrival, send, repeat.answer)

    async def _give_again(self, candidate: Candidate, copy: Copy, send: Send) -> None:
        """Answer with a copy: charged like any answer, and without slot, thread and query."""
        control = self.control
        verdict = await control.limiter.charge(candidate.charges)
        if not verdict.allowed:
            refusal = control.refusals.over_limits(candidate, verdict)
            await _refuse(candidate.arrival, send, refusal)
            return
        for message in control.given_again(candidate, copy, verdict):
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

    async def _turn_away(self, candidate: Candidate, outcome: Outcome, send: Send) -> None:
        """No slot in time. Who got nothing pays nothing, and who has left hears nothing."""
        if outcome is Outcome.CLIENT_GONE:
            self.control.observer.left(candidate.arrival.policy)
            return
        await _refuse(candidate.arrival, send, self.control.refusals.overloaded(candidate))
        await self.control.limiter.refund(candidate.charged)


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
