"""Addresses: only proxies of ours are believed (fault 23)."""

import pytest

from stabilizer.gate.address import Proxies, network

OURS = Proxies(["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"])


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, unknown, 10.1.1.1", "10.1.1.1"),
        ("' OR 1=1 --", "10.0.0.1"),
        ("", "10.0.0.1"),
        (", ,", "10.0.0.1"),
        ("203.0.113.7, " + "10.1.1.1, " * 5000 + "10.1.1.1", "10.1.1.1"),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_not_ours(forwarded, client):
    assert OURS.client("10.0.0.1", forwarded) == client


@pytest.mark.parametrize("peer", ["203.0.113.9", "", "testclient", "2001:db8::9"])
def test_nobody_else_is_trusted(peer):
    assert not OURS.trusts(peer)


def test_a_unix_socket_is_trusted_where_the_settings_say_so():
    assert Proxies(["unix"]).trusts("")
    assert not Proxies([]).trusts("")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("198.51.100.1", "198.51.100.254", True),
        ("198.51.100.1", "198.51.101.1", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.1", "198.51.100.7", True),
    ],
)
def test_limits_count_a_slash_24_or_a_slash_64(one, other, same):
    assert (network(one) == network(other)) is same
