"""Several processes' gates on one Redis."""

import asyncio

from django.conf import settings

from ratelimit.limiter import Limiter
from ratelimit.store import Store
from tests.stabilizer.gate.conftest import App
from tests.stabilizer.gate.door import Door


class Busy(App):
    """Each request works for a moment, in which others arrive."""

    async def __call__(self, scope, receive, send):
        async def slowly(message):
            await asyncio.sleep(0.002)
            await send(message)

        await super().__call__(scope, receive, slowly)


async def test_two_gates_together_never_pass_a_small_cap(gates, redis_client):
    app, stores = Busy(), [Store(settings.REDIS_URL) for _ in range(2)]
    made = [await gates(app, limiter=Limiter(store), cap=6, threads=4) for store in stores]
    doors = [Door(gate) for gate in made]
    served = 0
    async with asyncio.timeout(20):
        # A Redis that has just been emptied hands out nothing for one lease.
        while sum(gate.control.lease.share for gate in made) < 6 or served < 400:
            replies = await asyncio.gather(*(doors[n % 2].knock() for n in range(200)))
            served += sum(reply.status == 200 for reply in replies)
            assert {reply.status for reply in replies} <= {200, 503}
    assert 1 < app.most_inside <= 6
    assert all(gate.control.lease.share >= 1 for gate in made)
    for store in stores:
        store.close()


async def test_a_gate_that_stops_gives_its_slots_to_the_others(gates, redis_client):
    app, stores = Busy(), [Store(settings.REDIS_URL) for _ in range(2)]
    first, second = [await gates(app, limiter=Limiter(store), cap=6, threads=4) for store in stores]
    assert redis_client.zcard("rl:{-}:slots:leases") == 2
    await first.stop()
    assert redis_client.zcard("rl:{-}:slots:leases") == 1
    assert (await Door(second).knock()).status == 200
    for store in stores:
        store.close()
