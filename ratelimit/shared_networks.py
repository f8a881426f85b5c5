"""Networks behind whose addresses many people live, as admins list them.

A carrier's address stands for thousands of homes; what one network may do would refuse most of
them. A listed network may do as much as the number of networks that it stands for.
"""

from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from ratelimit.gcra import SECOND_US, Limit
from ratelimit.network import parse

_listed: tuple[tuple[IPv4Network | IPv6Network, int], ...] = ()


def widened(limit: Limit, address: str) -> Limit:
    """`limit` of a network as it holds for the network of `address`. No query."""
    if not _listed:
        return limit
    times = stands_for(address)
    return limit if times == 1 else _times(limit, times)


@lru_cache(maxsize=4096)
def stands_for(address: str) -> int:
    """How many networks the one of `address` counts as: by the narrowest entry, 1 if unlisted."""
    parsed = parse(address)
    if parsed is None:
        return 1
    found = [(network.prefixlen, times) for network, times in _listed if parsed in network]
    return max(found)[1] if found else 1


def reload() -> None:
    """Read the list again; `ratelimit.revision` calls it, away from any request."""
    from ratelimit.models import SharedNetwork

    global _listed
    _listed = tuple(
        (ip_network(row.network), row.stands_for) for row in SharedNetwork.objects.all()
    )
    stands_for.cache_clear()


@lru_cache(maxsize=1024)
def _times(limit: Limit, times: int) -> Limit:
    return replace(limit, quantity=min(limit.quantity * times, limit.window_s * SECOND_US))
