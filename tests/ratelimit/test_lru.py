"""What a process keeps is bounded, by number and by time."""

from ratelimit.lru import Lru
from tests.hand_clock import HandClock


def test_the_one_used_least_lately_goes_first() -> None:
    kept: Lru[int] = Lru(3, HandClock())
    for number, key in enumerate("abc"):
        kept.keep(key, number, 1000, 10)
    assert kept.find("a") is not None
    kept.keep("d", 3, 1000, 10)
    assert [key for key in "abcd" if kept.find(key)] == ["a", "c", "d"]
    assert len(kept) == 3


def test_a_thousand_more_than_there_is_room_for_leave_the_last_thousand() -> None:
    kept: Lru[int] = Lru(1_000, HandClock())
    for number in range(2_000):
        kept.keep(str(number), number, 1000, 10)
    assert len(kept) == 1_000
    assert kept.find("999") is None
    assert kept.find("1000") is not None


def test_a_value_ends_with_its_time_counted_from_its_reading() -> None:
    hand = HandClock()
    kept: Lru[str] = Lru(3, hand)
    hand.advance(4)
    kept.keep("a", "x", hand() - 4, 10)
    hand.advance(5.9)
    entry = kept.find("a")
    assert entry is not None
    assert (entry.value, entry.read_at) == ("x", 1000)
    hand.advance(0.1)
    assert kept.find("a") is None
    assert len(kept) == 0


def test_the_keys_used_last_are_told_the_very_last_first() -> None:
    kept: Lru[int] = Lru(10, HandClock())
    for key in "abc":
        kept.keep(key, 0, 1000, 10)
    kept.find("a")
    assert kept.latest(2) == ["a", "c"]
