"""How far limits may be passed now: by the shares of those who go on by themselves."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from ratelimit.gcra import Limit
from stabilizer.gate.policy import Policy, Rule
from stabilizer.ops import bound
from stabilizer.ops.totals import Word

NOW_MS = 1_000_000


def policy(name: str, quantity: int, window_s: int = 60, store_away: str = "local") -> Policy:
    limit = replace(Limit("udid", quantity, window_s), store_away=store_away)
    return Policy(name, rules=(Rule(limit, ("udid",), f"{name}.udid"),))


POLICIES = MappingProxyType({each.name: each for each in (policy("many", 100), policy("few", 5))})


def word(*, asks: bool = True, ago_ms: int = 0, lapsed: bool = False) -> Word:
    return Word(NOW_MS - ago_ms, {"asks": asks, "processes": 4, "lapsed": lapsed, "share": 7})


def found(*words: Word, policies=POLICIES):
    return bound.of({str(number): each for number, each in enumerate(words)}, NOW_MS, policies)


def test_it_is_nothing_while_all_ask_one_redis():
    assert found(*[word()] * 4) == {
        "slots": 0,
        "percent": 0,
        "worst": None,
        "open": [],
        "apart": 0,
        "silent": 0,
        "processes": 4,
    }


def test_one_that_is_cut_off_adds_its_share_of_slots_and_limits():
    told = found(*[word()] * 3, word(asks=False, lapsed=True))
    assert (told["slots"], told["apart"], told["silent"]) == (7, 1, 0)
    # A quarter of 100, and of 5; what cannot be divided so far is one at least.
    assert told["percent"] == 25
    assert told["worst"] == {
        "policy": "many",
        "limit": "udid",
        "more": 25,
        "quantity": 100,
        "window_s": 60,
    }


def test_its_slots_are_its_own_until_its_lease_has_lapsed():
    told = found(*[word()] * 3, word(asks=False))
    assert (told["slots"], told["percent"]) == (0, 25)


def test_without_redis_a_whole_quota_may_be_had_again():
    told = found(*[word(asks=False, lapsed=True)] * 4)
    assert (told["slots"], told["percent"], told["worst"]["more"]) == (28, 100, 100)


def test_less_than_one_for_each_is_one_for_each():
    told = found(*[word(asks=False)] * 4, policies={"few": policy("few", 2)})
    assert (told["percent"], told["worst"]["more"]) == (200, 4)


@pytest.mark.parametrize(("ago_ms", "slots", "silent"), [(2_999, 0, 0), (3_000, 7, 1)])
def test_one_that_is_not_heard_of_may_go_on_by_itself(ago_ms, slots, silent):
    told = found(word(), word(ago_ms=ago_ms))
    assert (told["slots"], told["silent"], told["apart"]) == (slots, silent, silent)


def test_what_is_open_meanwhile_is_named_and_what_is_closed_adds_nothing():
    policies = {
        "free": policy("free", 5, store_away="open"),
        "shut": policy("shut", 5, store_away="closed"),
    }
    told = found(word(asks=False), policies=policies)
    assert (told["open"], told["percent"], told["worst"]) == (["free"], 0, None)
    assert found(word(), policies=policies)["open"] == []
