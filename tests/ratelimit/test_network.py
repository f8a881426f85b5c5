"""Networks that limits count by: the gate's and those of wrong codes are the same."""

import pytest

from ratelimit.network import network, plain


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("198.51.100.1", "198.51.100.254", True),
        ("198.51.100.1", "198.51.101.1", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.1", "198.51.100.7", True),
        ("::ffff:198.51.100.1", "::ffff:203.0.113.1", False),
        ("", "198.51.100.7", False),
        ("testclient", "", False),
    ],
)
def test_limits_count_a_slash_24_or_a_slash_64(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("::FFFF:c633:6401", "198.51.100.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("198.51.100.1", "198.51.100.1"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_an_address_has_one_form(written: str, meant: str) -> None:
    assert plain(written) == meant
