"""The network that limits count an address by, where a person has many addresses."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=4096)
def parse(text: str) -> Address | None:
    """`text` as an address, an IPv4 address written as IPv6 as IPv4; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def plain(text: str) -> str:
    """An address in its one form: what a dual-stack socket calls ``::ffff:192.0.2.1`` is IPv4."""
    if ":" not in text:
        return text
    address = parse(text)
    return str(address) if address else text


def network(address: str) -> str:
    """An IPv4 address's /24, an IPv6 address's /64. What is no address is its own network."""
    if ":" in address:
        return _ipv6_network(address)
    return address.rpartition(".")[0] or address


@lru_cache(maxsize=4096)
def _ipv6_network(address: str) -> str:
    parsed = parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return network(str(parsed)) if parsed else address
