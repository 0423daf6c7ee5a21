"""Which IP addresses may be connected to: public unicast ones, whatever spelling hides another.

The tables are ours because the standard library's `is_global` is not enough. On Python 3.11 it calls these global:
multicast, `168.63.129.16` (Azure's metadata), IPv4-compatible, NAT64 (also the local-use prefix) and 6to4 addresses of
any private IPv4 address, site-local `fec0::/10`, `3fff::/20`, `5f00::/16`, and all of IPv6 that IANA never gave out.

Source: the IANA special-purpose registries of IPv4 and IPv6 (RFC 6890, RFC 8190) as of 2025, and the IPv6 address space
registry, which gives out `2000::/3` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
Judge: TypeAlias = Callable[[IPAddress], str | None]
"""Returns why an address is refused, None for one that may be connected to."""

_REFUSED_V4: Final = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("168.63.129.16/32", "metadata"),  # Azure's, a public address that every virtual machine reaches
        ("100.100.100.200/32", "metadata"),  # Alibaba Cloud's
        ("169.254.169.254/32", "metadata"),
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-nat"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol"),  # also Oracle Cloud's metadata, 192.0.0.192
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "anycast"),  # AS112: answered by whoever is nearest, perhaps inside
        ("192.52.193.0/24", "anycast"),  # AMT relays
        ("192.88.99.0/24", "anycast"),  # 6to4 relays, withdrawn by RFC 7526
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "anycast"),  # AS112
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_REFUSED_V6: Final = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("fd00:ec2::254/128", "metadata"),  # Amazon's
        ("fd20:ce::254/128", "metadata"),  # Google's
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "v4-compatible"),  # withdrawn by RFC 4291
        ("64:ff9b:1::/48", "local-nat64"),  # RFC 8215: what it leads to is known to the local translator alone
        ("100::/64", "discard"),
        ("2001::/23", "protocol"),  # Teredo, ORCHID, benchmarking, anycast services
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),  # with the gateway's own public IPv4 address this is the network that it stands in
        ("2620:4f:8000::/48", "anycast"),  # AS112
        ("3ffe::/16", "reserved"),  # the 6bone, given back (RFC 3701)
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment-routing"),
        ("fc00::/7", "unique-local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset((0x0000_5EFE, 0x0200_5EFE))
"""First half of an interface id whose second half is an IPv4 address (RFC 5214 section 6.1)."""
_LOW_32: Final = 0xFFFF_FFFF


def refused_because(address: IPAddress, denied: Iterable[IPNetwork] = ()) -> str | None:
    """Judges one address.

    IPv4-mapped and NAT64 addresses are what their IPv4 address is. IPv4-compatible, local NAT64, 6to4 and Teredo
    addresses are refused whatever they embed: none of them is globally reachable by itself.

    Args:
        address: as resolved or written.
        denied: networks refused besides.

    Returns:
        One word of ours, for the log; None when the address may be connected to.
    """
    denied = tuple(denied)
    if any(address in network for network in denied):
        return "denied"
    if isinstance(address, IPv4Address):
        return next((why for network, why in _REFUSED_V4 if address in network), None)
    if address.scope_id is not None:
        return "scoped"
    inner = _embedded(address)
    if inner is not None:
        return refused_because(inner, denied)
    why = next((why for network, why in _REFUSED_V6 if address in network), None)
    if why is not None:
        return why
    if address not in _GLOBAL_UNICAST:
        return "reserved"
    if int(address) >> 32 & _LOW_32 in _ISATAP:
        return refused_because(IPv4Address(int(address) & _LOW_32), denied)
    return None


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & _LOW_32)
    return None
