"""Waiting for a slot: deadlines, clients that leave, and slots that come back whatever happens."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilizer.gate import waiting
from stabilizer.gate.policy import DEFAULTS, Policy
from stabilizer.gate.slots import Slots
from stabilizer.gate.ticket import Ticket
from stabilizer.gate.waiting import Outcome
from tests.stabilizer.gate.door import Connection, Door


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until `condition` holds; two seconds of it are a failure."""
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
async def narrow(gates, app):
    """A gate with one slot, which is taken."""
    gate = await gates(app, threads=1)
    gate.control.slots.resize(1)
    app.open.clear()
    first = asyncio.create_task(Door(gate).knock())
    await until(lambda: app.inside == 1)
    yield gate
    app.open.set()
    await first
    assert gate.control.slots.in_use == 0


async def test_who_waits_is_served_when_a_slot_is_free(narrow, app):
    waiter = asyncio.create_task(Door(narrow).knock())
    await until(lambda: narrow.control.slots.waiting == 1)
    assert app.inside == 1
    app.open.set()
    assert (await waiter).status == 200
    assert app.most_inside == 1


async def test_ordinary_requests_leave_what_is_critical_two_slots_for_each_thread(
    gates, app, policies_in_force
):
    policies_in_force.swap({**DEFAULTS, "default": Policy("default", wait_ms=10_000)})
    gate = await gates(app, threads=2)
    app.open.clear()
    crowd = [asyncio.create_task(Door(gate).knock()) for _ in range(12)]
    # A Redis that has just been emptied hands out only what a process has, as long as a lease.
    async with asyncio.timeout(10):
        while gate.control.lease.share < 8:
            await asyncio.sleep(0.05)
    assert (app.inside, gate.control.slots.waiting) == (4, 8)
    ack = "/api/v1/pairings/UDID-1/ack/"
    urgent = [asyncio.create_task(Door(gate).knock("POST", ack)) for _ in range(5)]
    await until(lambda: gate.control.slots.waiting == 9)
    assert app.inside == 8
    app.open.set()
    assert {reply.status for reply in await asyncio.gather(*crowd, *urgent)} == {200}


async def test_a_wait_ends_at_the_policys_deadline(narrow, policies_in_force, app):
    policies_in_force.swap({**DEFAULTS, "default": Policy("default", wait_ms=20)})
    reply = await Door(narrow).knock()
    problem = reply.problem
    assert problem.pop("decision") == reply["x-request-id"]
    assert problem == {
        "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        "title": "Temporarily reduced capacity",
        "status": 503,
        "code": "overloaded",
        "retry_after": 1,
    }
    assert (reply["retry-after"], reply["cache-control"]) == ("1", "no-store")
    assert narrow.control.slots.dropped == 1
    assert len(app.paths) == 1


@pytest.mark.parametrize("header", [{"x-deadline-ms": "20"}, {"request-timeout": "0.02"}])
async def test_a_wait_ends_when_the_client_would_no_longer_listen(narrow, header):
    async with asyncio.timeout(1):
        assert (await Door(narrow).knock(headers=header)).status == 503


@pytest.mark.parametrize("text", ["nan", "-1", "soon", "", "1e999"])
async def test_a_deadline_that_is_none_is_ignored(gates, app, text):
    gate = await gates(app)
    assert (await Door(gate).knock(headers={"x-deadline-ms": text})).status == 200


async def test_a_request_whose_deadline_has_passed_never_reaches_the_app(gates, app):
    gate = await gates(app)
    assert (await Door(gate).knock(headers={"x-deadline-ms": "0"})).status == 503
    assert app.paths == []


async def test_a_full_queue_sends_away_at_once(narrow):
    narrow.control.slots.queue_length = 0
    async with asyncio.timeout(0.5):
        assert (await Door(narrow).knock()).status == 503


async def test_those_sent_away_return_one_after_the_other(narrow):
    narrow.control.slots.queue_length = 0
    replies = [await Door(narrow).knock() for _ in range(200)]
    advised = [int(reply["retry-after"]) for reply in replies]
    assert advised == sorted(advised)
    assert advised[-1] > advised[0]


async def test_a_client_that_leaves_while_it_waits_is_dropped_and_counted(narrow, app):
    connection = Connection([{"type": "http.request", "body": b""}])
    waiter = asyncio.create_task(Door(narrow).knock(connection=connection))
    await until(lambda: narrow.control.slots.waiting == 1)
    connection.leave()
    assert (await waiter).status == 0
    assert (narrow.control.slots.waiting, narrow.control.slots.dropped) == (0, 1)
    assert len(app.paths) == 1


async def test_the_body_of_a_request_that_waited_is_whole(narrow, app):
    waiter = asyncio.create_task(Door(narrow).knock("POST", "/", content=b"x" * 1000))
    await until(lambda: narrow.control.slots.waiting == 1)
    app.open.set()
    assert (await waiter).status == 200
    assert app.bodies[-1] == b"x" * 1000


async def test_who_would_wait_in_vain_is_told_so_before_anything_is_charged(
    narrow, known, redis_client
):
    narrow.control.slots.queue_length = 0
    reply = await Door(narrow).knock("POST", "/api/v1/pairings/", data={"udid": "A" * 16})
    assert (reply.status, reply.problem["code"]) == (503, "overloaded")
    assert redis_client.keys("rl:*create*") == []


async def test_who_was_sent_away_for_want_of_a_slot_keeps_its_quota(narrow, known):
    narrow.control.slots.queue_length = 0
    replies = [
        await Door(narrow).knock("POST", "/api/v1/pairings/", data={"udid": "A" * 16})
        for _ in range(8)
    ]
    assert [reply.status for reply in replies] == [503] * 8


async def test_a_slot_comes_back_when_the_app_fails(gates, app):
    gate = await gates(app)
    app.error = RuntimeError("boom")
    for _ in range(50):
        with pytest.raises(RuntimeError, match="boom"):
            await Door(gate).knock()
    assert gate.control.slots.in_use == 0


async def test_a_slot_comes_back_when_a_running_request_is_cancelled(gates, app):
    gate = await gates(app)
    app.open.clear()
    running = [asyncio.create_task(Door(gate).knock()) for _ in range(5)]
    await until(lambda: app.inside == 5)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert gate.control.slots.in_use == 0


async def test_a_slot_comes_back_before_a_slow_reader_has_taken_the_answer(gates, app):
    gate = await gates(app)
    reading = asyncio.Event()

    class SlowReader(Connection):
        async def send(self, message):
            if message["type"] == "http.response.body":
                await reading.wait()
            await super().send(message)

    connection = SlowReader([{"type": "http.request", "body": b""}])
    knock = asyncio.create_task(Door(gate).knock(connection=connection))
    await until(lambda: app.bodies != [])
    await until(lambda: gate.control.slots.in_use == 0)
    assert not knock.done()
    reading.set()
    assert (await knock).body == b"served"


async def test_critical_requests_are_served_while_normal_ones_wait(gates, app, known):
    gate = await gates(app)
    gate.control.slots.resize(10)
    app.open.clear()
    normal = [asyncio.create_task(Door(gate).knock()) for _ in range(12)]
    await until(lambda: gate.control.slots.waiting == 3)
    assert app.inside == 9
    critical = asyncio.create_task(Door(gate).knock("POST", "/api/v1/pairings/U/ack/"))
    await until(lambda: app.inside == 10)
    assert app.paths[-1] == "/api/v1/pairings/U/ack/"
    app.open.set()
    await asyncio.gather(*normal, critical)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "end", "deadline", "leave", "cancel", "tick"]),
        st.integers(0, 20),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, limit=st.integers(1, 3))
def test_no_order_of_events_within_a_tick_loses_a_slot(actions, limit):
    asyncio.run(_play(actions, limit))


async def _play(actions: list[tuple[str, int]], limit: int) -> None:
    now = 0.0
    slots = Slots(limit, 5, lambda: now)
    crowd: list[tuple[Ticket, asyncio.Event, asyncio.Event, asyncio.Task[Outcome]]] = []

    async def visit(ticket: Ticket, gone: asyncio.Event, over: asyncio.Event) -> Outcome:
        async def disconnected() -> None:
            await gone.wait()

        outcome = Outcome.GRANTED
        if not slots.take(ticket):
            outcome = await waiting.wait(slots, ticket, 60, disconnected)
        try:
            if outcome is Outcome.GRANTED:
                assert slots.in_use <= limit
                await over.wait()
        finally:
            slots.leave(ticket)
        return outcome

    for action, number in actions:
        if action == "arrive":
            ticket, gone, over = Ticket("critical", 1, now + 10), asyncio.Event(), asyncio.Event()
            crowd.append((ticket, gone, over, asyncio.create_task(visit(ticket, gone, over))))
        elif action == "tick":
            await asyncio.sleep(0)
        elif crowd:
            ticket, gone, over, task = crowd[number % len(crowd)]
            {
                "end": over.set,
                "deadline": lambda ticket=ticket: slots.drop(ticket),
                "leave": gone.set,
                "cancel": task.cancel,
            }[action]()
    for _, _, over, _ in crowd:
        over.set()
    await asyncio.gather(*(task for *_, task in crowd), return_exceptions=True)
    assert (slots.in_use, slots.waiting) == (0, 0)
    assert slots.take(Ticket("critical", 1, now + 10))


async def test_a_thousand_arrivals_with_random_fates_leave_all_slots_free(gates, app):
    gate = await gates(app)
    rng = random.Random(7)

    async def visitor() -> None:
        connection = Connection([{"type": "http.request", "body": b""}])
        task = asyncio.create_task(Door(gate).knock(connection=connection))
        fate = rng.random()
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
        if fate < 0.3:
            connection.leave()
        elif fate < 0.5:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(visitor() for _ in range(1000)))
    slots = gate.control.slots
    assert (slots.in_use, slots.waiting, slots.demand) == (0, 0, 0)
    assert app.most_inside <= slots.limit
    assert (await Door(gate).knock()).status == 200
