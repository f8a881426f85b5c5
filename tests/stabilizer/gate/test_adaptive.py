"""The adaptive limit, tried on simulated servers: it finds what they do at once, and keeps it."""

import pickle
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilizer.gate.adaptive import SAMPLES, WINDOW_S, AdaptiveLimit
from tests.hand_clock import HandClock
from tests.stabilizer.gate.adaptive_worlds import Fixed, Route, World, exponential, ordinary

WORK_S = 0.02
SLOWER = 10


def world(maximum: int = 16, **changed) -> World:
    return World.adaptive(maximum, **({"routes": [Route("list", ordinary(WORK_S))]} | changed))


def best_goodput(maximum: int, seconds: float = 30, **like) -> float:
    """Of all fixed limits, per second."""
    worlds = [World(Fixed(limit), **like) for limit in range(1, maximum + 1)]
    return max(each.run(seconds).done / seconds for each in worlds)


def limits(server: World, seconds: int) -> list[int]:
    """The limit at the end of each second in which no half of it is being tried."""
    seen: list[int] = []
    while len(seen) < seconds:
        server.run(1)
        if not server.limit.trial:
            seen.append(server.limit.limit)
    return seen


def feed(limit: AdaptiveLimit, clock: HandClock, latency_s: float, windows: int = 1, **more):
    """Windows of full load."""
    for _ in range(windows):
        for _ in range(SAMPLES):
            clock.advance(1.1 * WINDOW_S / SAMPLES)
            limit.ended("list", latency_s, **{"in_flight": limit.limit, **more})


@pytest.mark.parametrize("seed", range(3))
def test_behind_a_database_ten_times_slower_it_loses_no_goodput_and_comes_back(seed):
    server = world(seed=seed)
    server.run(30)
    before = server.run(30).done / 30
    server.slowness = SLOWER
    done = 0
    for _ in range(12):
        done += server.run(5).done
        assert server.latency_s <= 3 * WORK_S * SLOWER
    routes = [Route("list", ordinary(WORK_S))]
    assert done / 60 >= 0.9 * best_goodput(16, routes=routes, slowness=SLOWER)
    server.slowness = 1
    server.run(8)
    assert server.run(2).done / 2 >= 0.9 * before


@pytest.mark.parametrize("seed", range(3))
def test_behind_a_database_that_does_a_tenth_at_once_it_lets_a_tenth_in(seed):
    server = world(64, threads=64, knee=32, seed=seed)
    server.run(30)
    before = server.run(30).done / 30
    server.knee = 3.2
    done = server.run(20).done
    for _ in range(8):
        done += server.run(5).done
        assert server.latency_s <= 3 * WORK_S
    routes = [Route("list", ordinary(WORK_S))]
    assert done / 60 >= 0.9 * best_goodput(20, routes=routes, threads=64, knee=3.2)
    server.knee = 32
    server.run(8)
    assert server.run(2).done / 2 >= 0.9 * before


def test_where_more_at_once_is_slower_for_all_it_stays_near_the_knee():
    server = world(64, threads=64, knee=16, contention=0.02)
    server.run(30)
    routes = [Route("list", ordinary(WORK_S))]
    best = best_goodput(32, 20, routes=routes, threads=64, knee=16, contention=0.02)
    assert server.run(60).done / 60 >= 0.9 * best
    assert server.latency_s <= 2 * WORK_S


def test_all_of_a_share_that_brings_throughput_is_used():
    server = world(8, threads=8, knee=8)
    server.run(30)
    assert min(limits(server, 60)) >= 7
    assert server.run(60).done / 60 >= 0.95 * 8 / WORK_S


def test_a_day_of_steady_noisy_bursty_and_idle_hours_moves_it_nowhere():
    server = world(routes=[Route("list", ordinary(0.5))], threads=8, knee=6)
    ends: dict[str, list[float]] = {"steady": [], "noisy": [], "bursty": []}
    for hour in range(24):
        kind = ("steady", "noisy", "bursty", "idle")[hour % 4]
        stragglers = [Route("list", exponential(2.0), 0.02)] if kind == "noisy" else []
        server.routes = [server.routes[0], *stragglers]
        server.rate_per_s = {"noisy": 9.0, "idle": 0.01}.get(kind)
        if kind == "idle":
            was = server.limit.limit
            server.run(3600)
            assert server.limit.limit == was
            continue
        seen: list[int] = []
        if kind == "bursty":
            for minute in range(60):
                server.rate_per_s = 20.0
                in_burst = limits(server, 30)
                seen += in_burst if minute >= 50 else []
                server.rate_per_s = 0.5
                server.run(30)
        else:
            server.run(3000)
            seen = limits(server, 600)
        ends[kind].append(median(seen))
    for each in ends.values():
        assert len(each) == 6
        assert all(abs(end - each[0]) <= max(1, 0.1 * each[0]) for end in each), ends


@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_swing_under_a_step_of_load(seed):
    server = world(rate_per_s=50.0, seed=seed)
    server.run(30)
    server.rate_per_s = 800.0
    server.run(30)
    steady = limits(server, 60)
    assert max(steady) <= 2 * min(steady)
    assert server.run(10).done / 10 >= 0.9 * 8 / WORK_S


@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_swing_with_a_sawtooth_of_load(seed):
    server = world(seed=seed)
    server.run(30)
    steady = []
    for second in range(120):
        server.rate_per_s = 80.0 * (1 + second % 10)
        steady += limits(server, 1)
    assert max(steady) <= 2 * min(steady)


def test_another_mix_of_fast_and_slow_routes_is_no_news():
    fast = Route("token", ordinary(0.005), 0.95)
    slow = Route("report", ordinary(0.1), 0.05)
    server = world(routes=[fast, slow])
    server.run(20)
    before = median(limits(server, 30))
    fast.part, slow.part = 0.3, 0.7
    after = limits(server, 40)
    assert min(after) >= 0.5 * before
    assert abs(median(after) - before) <= 2


def test_errors_that_come_quickly_are_no_speed():
    server = world(threads=16)
    server.run(30)
    before = median(limits(server, 30))
    server.failing = 0.5
    assert abs(median(limits(server, 30)) - before) <= 1


def test_errors_that_come_late_are_slowness():
    clock = HandClock()
    limit = AdaptiveLimit(64, clock)
    feed(limit, clock, 0.02, windows=40)
    assert limit.limit == 64
    feed(limit, clock, 5.0, windows=3, ok=False, in_flight=64)
    assert limit.limit < 64


def test_nothing_but_quick_errors_changes_nothing():
    clock = HandClock()
    limit = AdaptiveLimit(64, clock)
    feed(limit, clock, 0.02, windows=3)
    feed(limit, clock, 0.001, windows=100, ok=False)
    assert limit.limit == 64


def test_one_slow_request_moves_nothing():
    clock = HandClock()
    limit = AdaptiveLimit(64, clock)
    feed(limit, clock, 0.02)
    limit.ended("list", 60.0, 64)
    feed(limit, clock, 0.02)
    assert limit.limit == 64


def test_below_half_of_the_limit_nothing_moves_however_slow_it_gets():
    clock = HandClock()
    limit = AdaptiveLimit(64, clock)
    for latency_s in (0.02, 0.5, 0.001):
        feed(limit, clock, latency_s, windows=200, in_flight=32)
        assert limit.limit == 64


def test_a_trial_ends_at_once_when_nobody_waits_any_more():
    clock = HandClock()
    limit = AdaptiveLimit(16, clock)
    while not limit.trial:
        feed(limit, clock, 0.02)
    assert limit.limit == 8
    limit.ended("list", 0.02, 6)
    assert (limit.limit, limit.trial) == (16, 0)


def test_a_share_that_comes_back_finds_the_limit_as_it_was():
    clock = HandClock()
    limit = AdaptiveLimit(16, clock)
    limit.maximum = 3
    assert limit.limit == 3
    feed(limit, clock, 0.02)
    limit.maximum = 16
    assert limit.limit == 16
    limit.maximum = 0
    assert limit.limit == 1


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["list", "token", "report"]),
        st.floats(-1.0, 1e6),
        st.integers(0, 1000),
        st.booleans(),
        st.sampled_from([0.0, 0.001, 0.3, 100.0, -1.0]),
        st.none() | st.integers(-1, 500),
        st.integers(1, 60),
    ),
    max_size=60,
)


@given(EVENTS)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_it_stays_within_its_bounds_and_remembers_no_more(events):
    clock = HandClock()
    limit = AdaptiveLimit(16, clock)
    for kind, latency_s, in_flight, ok, seconds, maximum, times in events:
        if maximum is not None:
            limit.maximum = maximum
        for _ in range(times):
            clock.advance(seconds)
            limit.ended(kind, latency_s, in_flight, ok)
            assert 1 <= limit.limit <= limit.maximum
    assert limit.limit == int(limit.limit)
    assert len(pickle.dumps(limit)) < 1500
