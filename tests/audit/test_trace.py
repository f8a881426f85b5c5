"""The id of a refusal: still a UUIDv7 of its moment, and a way to its record."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils import uuid7

from audit import trace
from audit.trace import NoId


def test_a_marked_id_is_a_uuid_of_the_same_moment_with_its_place_in_the_flood():
    given = uuid7().hex
    marked = trace.marked(given, "0badcafe", 17)
    read = trace.read(marked)
    assert (read.mark, read.number) == ("0badcafe", 17)
    assert read.at == trace.read(given).at
    assert abs(read.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert UUID(marked).version == 7
    assert len(marked) == 32


def test_ids_of_one_flood_differ_however_many_come_in_one_millisecond():
    given = uuid7().hex
    mark = trace.new_mark()
    assert len({trace.marked(given, mark, number) for number in range(1, 10_001)}) == 10_000


def test_an_id_is_read_in_any_of_its_spellings():
    given = uuid7().hex
    assert trace.read(f" {str(UUID(given)).upper()} ").id == given


@pytest.mark.parametrize(
    "text", ["", "nonsense", "0" * 32, "0" * 12 + "7" + "0" * 3 + "8" + "0" * 16, "x" * 32]
)
def test_what_is_no_id_is_told(text):
    with pytest.raises(NoId, match="no id of a decision"):
        trace.read(text)
