from audit import thinning
from audit.thinning import Thinning


def test_one_of_a_cause_is_recorded_in_ten_seconds_and_stands_for_all() -> None:
    now_s = [0.0]
    thin = Thinning(lambda: now_s[0])
    assert [thin.due("a") for _ in range(5)] == [1, 0, 0, 0, 0]
    assert thin.due("b") == 1
    now_s[0] = 9.9
    assert thin.due("a") == 0
    now_s[0] = 10.0
    assert [thin.due("a"), thin.due("a"), thin.due("b")] == [6, 0, 1]


def test_causes_without_number_do_not_fill_the_memory() -> None:
    thin = Thinning(lambda: 0.0)
    for number in range(thinning.CAUSES + 5):
        thin.due(number)
    assert len(thin._seen) == thinning.CAUSES
