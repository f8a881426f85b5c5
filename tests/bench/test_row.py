"""A row judges the median of its rounds, each of which is a pair."""

import json
import math

from bench.row import Row, at_least, at_most


def row(ours, peers=(), goal=None) -> Row:
    return Row("speed", "requests/s", ours, peers, goal)


def test_a_ratio_is_taken_within_each_round() -> None:
    # The second round was slow for both; the medians alone would say 100 / 50.
    assert row((100.0, 10.0, 300.0), (50.0, 10.0, 100.0)).ratios == (2.0, 1.0, 3.0)


def test_the_value_is_the_median_ratio_and_the_spread_its_ends() -> None:
    pairs = row((100.0, 10.0, 300.0), (50.0, 10.0, 100.0))

    assert pairs.value == 2.0
    assert pairs.spread == (1.0, 3.0)


def test_without_a_peer_our_own_figures_are_judged() -> None:
    alone = row((40.0, 70.0, 50.0), goal=at_most(60))

    assert alone.ratios == ()
    assert alone.value == 50.0
    assert alone.spread == (40.0, 70.0)
    assert alone.met is True


def test_a_goal_is_met_on_its_very_bound() -> None:
    assert row((6.0,), (10.0,), at_least(0.6)).met is True
    assert row((6.0,), (10.0,), at_most(0.6)).met is True


def test_a_goal_is_missed_on_its_other_side() -> None:
    assert row((5.9,), (10.0,), at_least(0.6)).met is False
    assert row((6.1,), (10.0,), at_most(0.6)).met is False


def test_what_was_not_promised_is_neither_met_nor_missed() -> None:
    assert row((1.0,), (2.0,)).met is None


def test_a_peer_that_did_nothing_is_beaten_by_anything() -> None:
    beaten = row((5.0,), (0.0,), at_least(1))

    assert beaten.value == math.inf
    assert beaten.met is True


def test_two_that_did_nothing_are_no_success() -> None:
    assert row((0.0,), (0.0,), at_least(1)).met is False


def test_the_document_says_everything_in_numbers_that_json_has() -> None:
    document = row((100.0, 200.0), (0.0, 0.0), at_least(4.5)).document()

    assert json.loads(json.dumps(document, allow_nan=False)) == {
        "name": "speed",
        "ours": 150.0,
        "peer": 0.0,
        "unit": "requests/s",
        "ratio": None,
        "spread": [None, None],
        "goal": "at least 4.5",
        "met": True,
        "note": "",
    }
