"""Measures alternate, so that all of them meet the same machine."""

from functools import partial

from bench.rounds import in_turn


def test_each_round_takes_every_measure_once() -> None:
    taken: list[str] = []

    in_turn(3, {name: partial(taken.append, name) for name in "AB"})

    assert taken == ["A", "B", "A", "B", "A", "B"]


def test_results_are_in_the_order_of_the_rounds() -> None:
    numbers = iter(range(4))

    results = in_turn(2, {"A": lambda: next(numbers), "B": lambda: next(numbers)})

    assert results == {"A": (0, 2), "B": (1, 3)}
