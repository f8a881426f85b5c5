"""A flood in the trail: nothing of it is lost, and it does not fill the trail."""

from collections import Counter

import pytest

from audit import context, floods, recording
from audit.context import RequestContext
from audit.floods import Floods, Telling
from tests.hand_clock import HandClock


@pytest.fixture
def hand():
    return HandClock()


@pytest.fixture
def log(hand):
    return Floods(hand)


@pytest.fixture
def written(monkeypatch):
    """(key, count, decision id) of each record."""
    written = []

    def record(action, outcome, *, detail, **_):
        written.append((detail["key"], detail["count"], context.current().decision_id))

    monkeypatch.setattr(recording, "record", record)
    return written


def refuse(log, key, decision_id="", times=1):
    for _ in range(times):
        request = RequestContext("request", decision_id, "::1")
        log.record(key, "gate.refused", "refused", detail={"key": key}, context=request)


def test_a_flood_belongs_to_the_request_that_began_it(log, written):
    with context.bound(RequestContext("request", "served", "::1")):
        log.record("a", "code.unknown", "refused", detail={"key": "a"})
        log.record("a", "code.unknown", "refused", detail={"key": "other"})
    log.close()
    assert written == [("a", 1, "served"), ("a", 1, "served")]


def test_a_flood_that_has_ended_is_counted_when_somebody_else_is_refused(log, hand, written):
    refuse(log, "a", "first")
    refuse(log, "a", "later", times=99)
    hand.now += 9
    refuse(log, "b", "other")
    assert written == [("a", 1, "first"), ("b", 1, "other")]
    hand.now += 1
    refuse(log, "b", "another")
    assert written[2:] == [("a", 99, "first")]


def test_a_single_refusal_has_no_second_record(log, hand, written):
    refuse(log, "a")
    hand.now += 10
    refuse(log, "b")
    log.close()
    assert written == [("a", 1, ""), ("b", 1, "")]


def test_a_flood_that_is_evicted_is_counted(log, written, monkeypatch):
    monkeypatch.setattr(floods, "CAUSES", 2)
    refuse(log, "a", "first", times=5)
    refuse(log, "b")
    refuse(log, "c")
    assert written == [("a", 1, "first"), ("b", 1, ""), ("a", 4, "first"), ("c", 1, "")]


def test_when_the_process_stops_every_flood_is_counted_once(log, written):
    refuse(log, "a", "first", times=5)
    refuse(log, "b", "second", times=3)
    log.close()
    log.close()
    assert written[2:] == [("a", 4, "first"), ("b", 2, "second")]


def test_one_refusal_closes_few_of_many_floods_and_none_is_lost(log, hand, written):
    for number in range(100):
        refuse(log, f"key-{number}", times=3)
    hand.now += 10
    refuse(log, "key-99")
    # Ten of the oldest, its own, and the first of its next.
    assert len(written) == 100 + 10 + 1 + 1
    log.close()
    counts: Counter[str] = Counter()
    for key, count, _ in written:
        counts[key] += count
    assert counts == {**{f"key-{number}": 3 for number in range(99)}, "key-99": 4}


def test_each_event_of_a_flood_hears_its_mark_and_its_own_number(log, hand, written):
    told = []

    def tell(mark):
        told.append(mark)
        return Telling("gate.refused", "refused", "", "", {"key": "a"}, RequestContext(), mark)

    first = [log.count("a", tell) for _ in range(3)]
    hand.now += 10
    second = log.count("a", tell)
    assert first == [(told[0], 1), (told[0], 2), (told[0], 3)]
    assert second == (told[1], 1)
    assert told[0] != told[1]
