"""Counters and histograms as Prometheus reads them, and as its own tool judges them."""

import subprocess

import pytest

from stabilizer.gate import policy
from stabilizer.gate.observer import BOUNDS, Observer
from stabilizer.metrics import render as render_gauges
from stabilizer.metrics import slots, waiting
from stabilizer.ops import exposition


@pytest.fixture
def text() -> str:
    observer = Observer()
    for seconds in (0.0004, 0.2, 0.21, 300):
        observer.arrived()
        observer.ended(policy.DEFAULTS["pairing.status"], 200, seconds, seconds / 2)
    observer.refused(policy.DEFAULTS["pairing.create"], ["udid", "network"])
    observer.pushed(0.03)
    observer.turned_away("at_capacity")
    lookups = {("cache", "subscriber", "process", "hit"): 7, ("cache", "x", "redis", "away"): 1}
    return exposition.text(observer.take() | lookups)


def test_counters_tell_policy_and_outcome(text):
    assert "stabilizer_requests_offered_total 4\n" in text
    assert 'stabilizer_requests_total{policy="pairing.status",outcome="answered"} 4\n' in text
    assert 'stabilizer_requests_total{policy="pairing.create",outcome="refused"} 1\n' in text
    assert 'stabilizer_refusals_total{policy="pairing.create",reason="udid"} 1\n' in text


def test_lookups_tell_kind_level_and_outcome(text):
    name = "stabilizer_cache_lookups_total"
    assert f'{name}{{kind="subscriber",level="process",outcome="hit"}} 7\n' in text
    assert f'{name}{{kind="x",level="redis",outcome="away"}} 1\n' in text


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_own(text):
    name = 'stabilizer_request_duration_seconds_bucket{criticality="normal",le='
    assert f'{name}"0.001"}} 1\n' in text
    assert f'{name}"0.1"}} 1\n' in text
    assert f'{name}"0.2"}} 2\n' in text
    assert f'{name}"0.5"}} 3\n' in text
    assert f'{name}"50"}} 3\n' in text
    assert f'{name}"+Inf"}} 4\n' in text
    assert 'stabilizer_request_duration_seconds_count{criticality="normal"} 4\n' in text
    assert 'stabilizer_request_duration_seconds_sum{criticality="normal"} 300.410400\n' in text
    assert "stabilizer_slot_wait_seconds_count 4\n" in text


def test_pushes_and_refused_connections_are_told(text):
    name = "stabilizer_push_delay_seconds"
    assert f'{name}_bucket{{le="0.02"}} 0\n' in text
    assert f'{name}_bucket{{le="0.05"}} 1\n' in text
    assert f"{name}_sum 0.030000\n{name}_count 1\n" in text
    assert 'stabilizer_connections_refused_total{reason="at_capacity"} 1\n' in text


def test_every_bound_that_is_told_is_one_that_is_counted_by():
    assert set(exposition.TOLD_BOUNDS) <= set(BOUNDS)


def test_promtool_finds_nothing_to_complain_of(text):
    whole = render_gauges([*slots({}), *waiting({})]) + text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=whole, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_policy_in_roll_out_is_told_by_what_it_would_do():
    lines = exposition.text({("trial", "pairing.create:12.3", "refused"): 7}).splitlines()
    name = "stabilizer_policy_trial_total"
    assert f'{name}{{trial="pairing.create:12.3",outcome="refused"}} 7' in lines
