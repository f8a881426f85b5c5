"""A changed policy in roll-out: counted beside the one in force, or in force for some tenants."""

import asyncio

import pytest
from django.conf import settings
from django.http import HttpResponse

from audit import recording
from ratelimit import draft, rollouts
from ratelimit.limiter import Limiter
from ratelimit.models import Rollout
from stabilizer.gate import policy, trial
from stabilizer.gate.control import Control
from stabilizer.gate.wsgi import GateMiddleware
from tests.ratelimit.conftest import CountingStore
from tests.stabilizer.gate.door import Door, create

UDID = "aabbccddee01"
STRICT = {"pairing.create": {"limits": {"udid": {"quantity": 2}}}}


@pytest.fixture
def rollout(known, policies_in_force) -> Rollout:
    """In shadow: of five pairings that a device may begin, two are left."""
    (plan,) = draft.read(STRICT)
    begun = rollouts.start(plan, actor="person:1")
    policies_in_force.reload()
    return begun


@pytest.fixture
def enforced(rollout, policies_in_force) -> Rollout:
    """For all tenants."""
    while rollout.percent < 100:
        rollouts.advance(rollout, actor="person:1")
    policies_in_force.reload()
    return rollout


async def tried(door: Door, times: int) -> list[int]:
    return [(await create(door, udid=UDID)).status for _ in range(times)]


def counted(door: Door, rollout: Rollout) -> tuple[int, int]:
    counts = door.app.control.observer.take()
    return tuple(
        counts.get(("trial", rollout.trial, outcome), 0) for outcome in ("admitted", "refused")
    )


async def test_in_shadow_it_is_counted_and_nobody_is_refused(rollout, door):
    assert await tried(door, 7) == [200] * 5 + [429] * 2
    # Of the five that were admitted it would have refused three; the others it was not asked for.
    assert counted(door, rollout) == (2, 3)


async def test_in_force_for_a_tenant_it_refuses_and_the_old_one_counts(enforced, door):
    assert await tried(door, 4) == [200, 200, 429, 429]
    # The last was refused from memory, as any caller who does not wait.
    assert counted(door, enforced) == (2, 1)


async def test_a_refusal_tells_by_which_roll_out_it_is(enforced, door, monkeypatch):
    told = []
    monkeypatch.setattr(recording, "record", lambda *_, detail, **__: told.append(detail))
    await tried(door, 3)
    assert [each["trial"] for each in told] == [enforced.trial]
    assert told[0]["counters"][0]["quantity"] == 2


async def test_what_the_old_one_refuses_too_is_not_held_against_it(rollout, door, redis_client):
    await tried(door, 5)
    counted(door, rollout)
    door.app.control.limiter.refusals.clear()
    assert await tried(door, 1) == [429]
    assert counted(door, rollout) == (0, 0)


@pytest.fixture(params=["chosen", "left"])
def in_part(request, rollout, known, policies_in_force) -> tuple[Rollout, bool]:
    """In force for a percentage of tenants, ours among them or just not."""
    tenant = f"t{known.pk}"
    while trial.is_chosen(rollout.pk, tenant, 1) or not trial.is_chosen(rollout.pk, tenant, 99):
        rollouts.abort(rollout, actor="person:1")
        rollout = rollouts.start(draft.read(STRICT)[0], actor="person:1")
    first = next(part for part in range(1, 100) if trial.is_chosen(rollout.pk, tenant, part))
    chosen = request.param == "chosen"
    rollouts.advance(rollout, actor="person:1", percent=first if chosen else first - 1)
    policies_in_force.reload()
    return rollout, chosen


async def test_it_holds_for_the_tenants_who_were_chosen_and_for_no_others(in_part, door):
    rollout, chosen = in_part
    allowed = 2 if chosen else 5
    assert await tried(door, 6) == [200] * allowed + [429] * (6 - allowed)
    assert counted(door, rollout) == ((2, 1) if chosen else (0, 0))


def test_who_is_chosen_stays_so_and_the_percentage_is_kept():
    tenants = [f"t{number}" for number in range(10_000)]
    ten = {each for each in tenants if trial.is_chosen(7, each, 10)}
    half = {each for each in tenants if trial.is_chosen(7, each, 50)}
    assert ten < half
    assert 900 < len(ten) < 1100
    assert 4800 < len(half) < 5200
    assert ten != {each for each in tenants if trial.is_chosen(8, each, 10)}


async def test_its_accounts_are_its_own(rollout, door, redis_client):
    await create(door, udid=UDID)
    lives = {key.decode(): redis_client.pttl(key) for key in redis_client.keys("rl:{t*")}
    counters = {key.split(":")[2]: ms for key, ms in lives.items()}
    # Limits that do not change are charged once.
    own = f"create.udid~{rollout.pk}"
    assert set(counters) == {"create.udid", own, "create.network"}
    # One of five in 300 s, and one of two.
    assert 58_000 < counters["create.udid"] <= 60_000
    assert 148_000 < counters[own] <= 150_000
    assert counters["create.network"] <= 500


async def test_when_it_is_withdrawn_accounts_are_as_if_it_had_never_been(
    enforced, door, policies_in_force
):
    assert await tried(door, 3) == [200, 200, 429]
    policies_in_force.swap(policy.DEFAULTS)
    door.app.control.limiter.refusals.clear()
    # The third was refused by the changed one alone, so the one in force has charged it.
    assert await tried(door, 3) == [200, 200, 429]


async def test_who_is_refused_by_another_limit_pays_nothing_beside(enforced, door, redis_client):
    await create(door, udid=UDID)
    (account,) = redis_client.keys("rl:{t*create.udid:*")
    before = redis_client.get(account)
    number = 0
    while (reply := await create(door, udid=f"aabbccdd{number:04}")).status == 200:
        number += 1
    assert reply.problem["violated-policies"] == ["network"]
    counted(door, enforced)
    door.app.control.limiter.refusals.clear()
    assert (await create(door, udid=UDID)).status == 429
    assert redis_client.get(account) == before
    assert counted(door, enforced) == (0, 0)


async def test_both_are_charged_in_one_call(rollout, gates, app, redis_client):
    store = CountingStore(settings.REDIS_URL, timeout_s=2)
    gate = await gates(app, limiter=Limiter(store))
    door = Door(gate)
    before = store.calls
    replies = await asyncio.gather(*(create(door, udid=f"aabbccdd{n:04}") for n in range(40)))
    assert {reply.status for reply in replies} == {200}
    # The lease's own calls aside, eighty requests of the script went in one.
    charged = store.calls - before
    assert charged <= 3
    store.close()


async def test_who_found_no_slot_pays_neither(rollout, door, redis_client):
    slots = door.app.control.slots
    slots.resize(1)
    taken = slots.limit
    slots.in_use = taken
    headers = {"x-deadline-ms": "1"}
    assert (await create(door, udid=UDID, headers=headers)).status == 503
    slots.in_use = 0
    assert redis_client.keys("rl:{t*create.udid*") == []


def test_behind_wsgi_it_is_the_same(rollout, limiter, rf):
    control = Control(limiter, threads=16, configure=lambda: None)
    gate = GateMiddleware(lambda request: HttpResponse(), control)
    statuses = [
        gate(
            rf.post(
                "/api/v1/pairings/",
                {"app_type": "tv", "udid": UDID},
                content_type="application/json",
            )
        ).status_code
        for _ in range(6)
    ]
    control.stop_now()
    assert statuses == [200] * 5 + [429]
    counts = control.observer.take()
    assert counts["trial", rollout.trial, "refused"] == 3


def test_a_draft_that_fits_no_more_is_left_aside(rollout, policies_in_force, caplog):
    Rollout.objects.update(draft={"limits": {"gone": {"quantity": 1}}})
    policies_in_force.reload()
    assert policies_in_force.policies["pairing.create"].trial is None
    assert "left aside" in caplog.text


def test_only_the_policies_it_changes_have_a_trial(rollout):
    names = {name for name, each in policy.table.policies.items() if each.trial}
    assert names == {"pairing.create", "oauth.device"}  # They share what they count by.
