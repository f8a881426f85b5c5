"""Bytes that never came, between those that did."""

from datetime import timedelta

import pytest

from audit import gaps
from audit.gaps import Gap
from audit.models import Segment

pytestmark = pytest.mark.django_db
LONG_AGO = gaps.PATIENCE + timedelta(seconds=1)


def store(clock, spool: str, *ranges: tuple[int, int], ago: timedelta = LONG_AGO) -> None:
    for number, (start, end) in enumerate(ranges):
        Segment.objects.create(
            spool=spool,
            number=number,
            start_byte=start,
            end_byte=end,
            events=1,
            damaged=0,
            stored_at=clock.now() - ago,
        )


def test_segments_that_follow_each_other_have_no_gap(clock):
    store(clock, "one", (0, 10), (10, 20))
    store(clock, "two", (0, 5))
    assert gaps.find() == []


def test_a_segment_that_is_missing_is_named_with_its_bytes(clock):
    store(clock, "one", (0, 10), (30, 40), (50, 60))
    store(clock, "two", (7, 9))
    assert gaps.find() == [Gap("one", 10, 30), Gap("one", 40, 50), Gap("two", 0, 7)]


def test_what_came_twice_under_two_numbers_hides_no_gap_and_makes_none(clock):
    store(clock, "one", (0, 100), (0, 50), (50, 120), (110, 130))
    assert gaps.find() == []


def test_a_segment_may_be_late(clock):
    store(clock, "one", (30, 40), ago=gaps.PATIENCE - timedelta(seconds=1))
    assert gaps.find() == []
