"""Addresses: only proxies of ours are believed (fault 23)."""

import pytest

from stabilizer.gate.address import Proxies
from stabilizer.gate.arrival import Arrival

OURS = Proxies(["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"])


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("255.0.9.10", "255.0.9.10"),
        ("10.1.1.1", "10.1.1.1"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.07", "10.0.0.1"),
        ("203.0.113.256", "10.0.0.1"),
        ("203.0.113", "10.0.0.1"),
        ("203.0.113.7.", "10.0.0.1"),
        ("203.0.113.7\n", "203.0.113.7"),
        ("\u0662.0.113.7", "10.0.0.1"),
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


def test_a_dual_stack_sockets_ipv4_peer_is_an_ipv4_address():
    """Else all of IPv4 would be one /64, and one client could spend everybody's limits."""
    read = Arrival.read("GET", "/api/v1/me/", "::ffff:203.0.113.7", [], OURS)
    assert read.address == "203.0.113.7"
    forwarded = [(b"x-forwarded-for", b"198.51.100.4")]
    behind = Arrival.read("GET", "/api/v1/me/", "::ffff:10.0.0.1", forwarded, OURS)
    assert behind.address == "198.51.100.4"
