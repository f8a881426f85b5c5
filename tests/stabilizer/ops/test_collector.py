"""Each process reports, one collects, and without Redis each knows of itself."""

import asyncio
import json

import pytest

from pairing import rows
from ratelimit import flags
from ratelimit.flags import Forced
from ratelimit.store import Store, StoreAway
from stabilizer.gate import policy
from stabilizer.gate.control import Control
from stabilizer.gate.observer import BOUNDS, Counts
from stabilizer.ops import history, standing, totals
from stabilizer.ops.collector import Collector, columns
from stabilizer.ops.row import refusals, row

STATUS = policy.DEFAULTS["pairing.status"]
AWAY = "redis://127.0.0.1:1/0"


def cells(document: str | None) -> dict[str, float | None]:
    assert document is not None
    return dict(zip(columns(), json.loads(document)["row"], strict=True))


def observer(collector: Collector):
    control: Control = collector._control
    return control.observer


async def test_one_process_collects_what_both_have_counted(store, collectors):
    first, second = collectors(store), collectors(store)
    await first.tick()
    for _ in range(30):
        observer(first).ended(STATUS, 200, 0.01, 0)
    for _ in range(10):
        observer(second).refused(STATUS, ["slots"])
    await second.tick()
    await first.tick()
    document = json.loads(await history.now(store))
    now = cells(json.dumps(document))
    assert document["scope"] == "fleet"
    assert len(document["processes"]) == 2
    assert document["refusals"] == [["pairing.status", "slots", 10]]
    # Rates are of the time between two ticks, which is short here.
    assert now["answered"] == pytest.approx(3 * now["refused"], rel=0.01)
    assert now["refused"] == now["refused_slots"] > 0
    assert 8 < now["p50_normal"] < 10.1
    assert now["redis"] == 1


async def test_each_second_is_kept_as_a_row_and_ten_as_one_of_the_day(store, collectors):
    collector = collectors(store)
    await collector.tick()
    for _ in range(20):
        observer(collector).arrived()
        # No two rows are of one millisecond.
        await asyncio.sleep(0.002)
        await collector.tick()
    seconds = [json.loads(row) for row in history.rows(store, history.SECONDS)]
    tens = [json.loads(row) for row in history.rows(store, history.TENS)]
    assert len(seconds) == 20
    assert len(tens) == 2
    assert {len(row) for row in seconds + tens} == {len(columns())}
    assert all(row[1] > 0 for row in seconds + tens)


def test_a_refusal_that_is_no_limit_of_the_caller_is_shown_under_its_own_cause():
    reasons = ("udid", "slots", "forged", "too_large", "callers", "breaker", "pressure")
    counts = {("refusals", "me", reason): 1 for reason in reasons}
    cells = dict(zip(columns(), row(1, counts, 1, {}), strict=True))
    shown = {name: cells[name] for name in columns() if name.startswith("refused_")}
    assert shown == {
        "refused_limits": 1,
        "refused_slots": 1,
        "refused_forged": 1,
        "refused_body": 1,
        "refused_unavailable": 2,
        "refused_pressure": 1,
    }


def test_refused_connections_and_pushes_have_columns_after_those_that_were_kept_before():
    before = columns().index("sockets_over_cap")
    assert columns()[before - 1] == "queue_held"
    counts: Counts = {("turned_away", "too_many_strangers"): 2, ("turned_away", "at_capacity"): 4}
    counts |= {("turned_away", "too_many_connections"): 2, ("push", BOUNDS.index(0.05)): 10}
    cells = dict(zip(columns(), row(1, counts, 2, {}), strict=True))
    assert (cells["sockets_over_cap"], cells["sockets_over_capacity"]) == (2, 2)
    assert (cells["push_p50"], cells["push_p95"]) == (45, 49.5)
    assert cells["refused"] == 0
    assert refusals(counts)["realtime", "at_capacity"] == 4


async def test_pressure_is_the_highest_of_any_process_and_flags_and_breakers_stand_beside_it(
    store, collectors, monkeypatch
):
    first, second = collectors(store), collectors(store)
    forced = Forced(False, 4_000_000_000.4, "olga", "a test")
    monkeypatch.setattr(flags, "_forced", {"search_off": forced})
    second._control.pressure.level = 2
    second._control.shedding.share = 0.25
    first._control.reads.opened_elsewhere(0, 60)
    for _ in range(2):
        await second.tick()
        await first.tick()
    await second.tick()
    document = json.loads(await history.now(store))
    assert document["pressure"] == cells(json.dumps(document))["pressure"] == 2
    assert cells(json.dumps(document))["let_in_percent"] == 25
    stand = {flag["name"]: (flag["taken"], flag["forced"]) for flag in document["flags"]}
    assert stand == {
        "lists_trimmed": (True, None),
        "fields_trimmed": (True, None),
        "search_off": (False, False),
        "polls_copied": (True, None),
        "lists_stale": (True, None),
        "sheddable_refused": (True, None),
        "newcomers_shed": (True, None),
        "only_critical": (False, None),
    }
    assert document["flags"][2] == {
        "name": "search_off",
        "level": 1,
        "taken": False,
        "forced": False,
        "until": 4_000_000_000,
        "owner": "olga",
        "reason": "a test",
    }
    reads, writes = document["breakers"]
    assert (writes["state"], writes["retry_s"]) == ("closed", None)
    assert reads["name"] == "database:read"


def test_a_breaker_is_told_with_its_state_since_when_and_its_next_try(hand):
    control = Control(configure=lambda: None, clock=hand)
    control.reads.opened_elsewhere(0, 4)
    hand.advance(3)
    assert standing.breakers(control) == [
        {"name": "database:read", "state": "open", "since_s": 3, "retry_s": 1},
        {"name": "database:write", "state": "closed", "since_s": 3, "retry_s": None},
    ]


async def test_a_history_is_bounded(store, collectors, monkeypatch):
    monkeypatch.setattr(history, "SECONDS_KEPT", 3)
    for number in range(5):
        await history.keep(store, "{}", f"[{number}]", None)
    assert history.rows(store, history.SECONDS) == ["[2]", "[3]", "[4]"]


async def test_without_redis_a_process_tells_of_itself_and_says_so(collectors):
    away = Store(AWAY)
    collector = collectors(away)
    observer(collector).ended(STATUS, 200, 0.01, 0)
    await collector.tick()
    document = json.loads(collector.alone)
    now = cells(collector.alone)
    assert document["scope"] == "process"
    assert now["redis"] == 0
    assert now["answered"] > 0
    assert now["sockets"] is None
    assert [each["name"] for each in document["processes"]] == [
        collector.process.rpartition(":")[0]
    ]
    away.close()


async def test_the_adaptive_limits_and_the_error_bound_are_told(store, collectors):
    first, second = collectors(store), collectors(store)
    await second.tick()
    await first.tick()
    await second.tick()
    document = json.loads(await history.now(store))
    now = cells(json.dumps(document))
    assert now["slots_adaptive"] == sum(each["limit"] for each in document["processes"]) > 0
    assert (now["bound_slots"], now["bound_percent"]) == (0, 0)
    assert document["bound"]["processes"] == 2


async def test_without_redis_a_process_tells_how_far_it_may_pass_the_limits(collectors):
    away = Store(AWAY)
    collector = collectors(away)
    with pytest.raises(StoreAway):
        away.call(lambda client: client.ping())
    collector._control.lease._renewed_at -= 60
    await collector.tick()
    excess = json.loads(collector.alone)["bound"]
    assert (excess["slots"], excess["apart"]) == (collector._control.lease.share, 1)
    assert excess["worst"]["more"] == excess["worst"]["quantity"]
    away.close()


async def test_who_has_ended_is_not_shown_and_cannot_pass_any_limit(store, collectors):
    first, second = collectors(store), collectors(store)
    await second.start()
    await first.tick()
    await second.stop()
    redis_has = await totals.words(store, 0)
    assert redis_has[second.process].said["ended"]
    await store.call_async(lambda client: client.delete(totals.COLLECTOR))
    await first.tick()
    await first.tick()
    processes = json.loads(await history.now(store))["processes"]
    assert [each["name"] for each in processes] == [first.process.rpartition(":")[0]]


async def test_a_process_of_an_older_version_is_shown_by_what_it_says(store, collectors):
    collector = collectors(store)
    said = {"role": "web", "mode": "healthy", "share": 4, "most": 8, "in_use": 0, "waiting": 0}
    await collector.tick()
    await totals.report(store, "old:1:x", 1, said, {})
    await collector.tick()
    assert len(json.loads(await history.now(store))["processes"]) == 2


async def test_what_was_counted_while_redis_was_away_reaches_the_totals(store, collectors):
    away = Store(AWAY)
    collector = collectors(away)
    for _ in range(3):
        observer(collector).arrived()
        await collector.tick()
    collector.store = store
    await collector.tick()
    await collector.tick()
    assert await totals.read(store) == {("arrived",): 3}
    assert collector.alone is None
    away.close()


async def test_lookups_of_rows_are_added_up_with_the_rest(store, collectors):
    key = ("cache", "subscriber", "process", "hit")
    for collector in (collectors(store), collectors(store)):
        rows.SUBSCRIBERS._counts = {key: 2}
        await collector.tick()
    assert (await totals.read(store))[key] == 4


async def test_a_lost_answer_counts_nothing_twice(store, collectors, monkeypatch):
    collector = collectors(store)
    run = Store.run_async

    async def lose(self, *words):
        await run(self, *words)
        from ratelimit.store import StoreAway

        raise StoreAway("lost", asked=True)

    observer(collector).arrived()
    monkeypatch.setattr(Store, "run_async", lose)
    await collector.tick()
    monkeypatch.undo()
    observer(collector).arrived()
    await collector._report(observer(collector).take())
    await collector._report({})
    assert await totals.read(store) == {("arrived",): 2}


async def test_the_last_counts_of_a_process_that_ends_are_reported(store, collectors):
    collector = collectors(store)
    await collector.start()
    observer(collector).arrived()
    await collector.stop()
    assert (await totals.read(store))["arrived",] == 1
