"""Every step under pressure is measured beside the full answer, once and shortly."""

import pytest

from bench import pressure
from bench.place import Place
from ratelimit import flags

pytestmark = [pytest.mark.processes, pytest.mark.alone]


def test_each_step_of_an_answer_has_its_time_and_its_processor_time(operators_place: Place) -> None:
    rows = list(pressure.rows(operators_place))

    measured = {row.name.partition(":")[0] for row in rows}
    refusing = {flags.SHEDDABLE_REFUSED.name, flags.NEWCOMERS_SHED.name, flags.ONLY_CRITICAL.name}
    assert measured == flags.BY_NAME.keys() - refusing
    assert len(rows) == 2 * len(measured)
    assert all(row.value > 0 for row in rows)
    # A refused search and a copy ask nothing: even so shortly that can be seen.
    by_name = {row.name.partition(":")[0]: row.value for row in rows if "time" in row.name}
    assert by_name["search_off"] < 1
    assert by_name["lists_stale"] < 1
