"""The product's own calls are made, and answered, as the mix has them."""

import pytest

from bench import product_mix
from bench.place import Place

pytestmark = pytest.mark.processes


def test_each_call_succeeds_where_there_is_room_for_all(operators_place: Place) -> None:
    with product_mix.door(operators_place) as door:
        offered = product_mix.offered(operators_place, door, per_s=20, load_s=1.0)
    answers = {sort: set(of_sort.answers) for sort, of_sort in offered.outcomes.items()}

    assert answers == {"critical": {"200", "204"}, "normal": {"201"}, "sheddable": {"200"}}
