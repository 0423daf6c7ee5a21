import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.providers.egress.address import IPAddress, refused_because
from llmgateway_server.providers.egress.refusal import Refusal
from llmgateway_server.providers.egress.url import parse
from tests.unit.providers.egress_corpus import PUBLIC

INSIDE = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]


@st.composite
def inside(draw: st.DrawFn) -> ipaddress.IPv4Address:
    network = draw(st.sampled_from(INSIDE))
    return network[draw(st.integers(0, network.num_addresses - 1))]


def as_v6(*parts: tuple[int, int]) -> ipaddress.IPv6Address:
    """Puts numbers where they belong: each with the position of its lowest bit."""
    return ipaddress.IPv6Address(sum(number << shift for number, shift in parts))


def disguises(address: ipaddress.IPv4Address) -> list[IPAddress]:
    """Returns every IPv6 address that stands for an IPv4 address somewhere."""
    n = int(address)
    high, low = divmod(n, 1 << 16)
    return [
        as_v6((n, 0)),  # IPv4-compatible
        as_v6((0xFFFF, 32), (n, 0)),  # IPv4-mapped
        as_v6((0xFFFF, 48), (n, 0)),  # IPv4-translated (RFC 2765)
        as_v6((0x64FF9B, 96), (n, 0)),  # NAT64
        as_v6((0x64FF9B0001, 80), (n, 0)),  # local NAT64 as /96
        as_v6((0x64FF9B0001, 80), (high, 64), (low, 40)),  # and as /48 of RFC 6052
        as_v6((0x2002, 112), (n, 80), (1, 0)),  # 6to4
        as_v6((0x20010000, 96), (0x41, 64), (n ^ 0xFFFFFFFF, 0)),  # Teredo, client
        as_v6((0x20010000, 96), (n, 64), (0xF7F7F7F7, 0)),  # Teredo, server
        as_v6((0x26064700, 96), (0x5EFE, 32), (n, 0)),  # ISATAP
        as_v6((0x26064700, 96), (0x02005EFE, 32), (n, 0)),
    ]


def spellings(address: ipaddress.IPv4Address) -> list[str]:
    """Returns what `inet_aton` and browsers read as the address, and its IPv6 disguises."""
    n = int(address)
    a, b, c, d = address.packed
    return [
        f"{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}.",
        f"{n}",
        f"{n:#x}",
        f"{n:#X}",
        f"0{n:o}",
        f"{a}.{n & 0xFFFFFF}",
        f"{a}.{b}.{n & 0xFFFF}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:#x}.{n & 0xFFFFFF}",
        f"0{a:03o}.{b}.{c:#x}.{d}",
        f"{a}。{b}．{c}｡{d}",
        "".join(chr(ord(char) - 48 + 0xFF10) if char.isdigit() else char for char in str(address)),
        *(f"[{each}]" for each in disguises(address)),
        *(f"[{each.exploded}]" for each in disguises(address)),
        f"[::ffff:{address}]",
        f"[64:ff9b::{address}]",
        f"[::{address}]",
    ]


def is_refused(host: str) -> bool:
    try:
        destination = parse(f"https://{host}/", {443})
    except Refusal:
        return True
    return destination.address is not None and refused_because(destination.address) is not None


@given(inside())
def test_an_inside_address_is_refused_in_every_spelling(address: ipaddress.IPv4Address) -> None:
    assert refused_because(address)
    assert [each for each in disguises(address) if not refused_because(each)] == []
    assert [each for each in spellings(address) if not is_refused(each)] == []


@given(st.integers(0, 2**128 - 1).filter(lambda n: n >> 125 != 1).map(ipaddress.IPv6Address))
def test_of_ipv6_only_global_unicast_passes_and_what_embeds_public_ipv4(address: ipaddress.IPv6Address) -> None:
    mapped_or_nat64 = int(address) >> 32 in (0xFFFF, 0x64FF9B << 64)
    assert mapped_or_nat64 or refused_because(address)


@given(
    st.one_of(
        st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address), st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
    )
)
def test_what_the_library_calls_not_global_never_passes(address: IPAddress) -> None:
    if not address.is_global or address.is_multicast:
        assert refused_because(address)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_pass(text: str) -> None:
    assert refused_because(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize("network", INSIDE)
def test_both_ends_of_a_range_are_refused(network: ipaddress.IPv4Network) -> None:
    assert refused_because(network[0])
    assert refused_because(network[-1])


def test_denied_networks_are_refused_in_disguise_too() -> None:
    denied = (ipaddress.ip_network("93.184.0.0/16"), ipaddress.ip_network("2606:4700::/32"))
    for text in ("93.184.215.14", "::ffff:93.184.215.14", "64:ff9b::93.184.215.14", "2606:4700::1"):
        assert refused_because(ipaddress.ip_address(text)) is None
        assert refused_because(ipaddress.ip_address(text), denied) == "denied"
    assert refused_because(ipaddress.ip_address("8.8.8.8"), denied) is None


def test_the_reason_is_a_word_for_the_log() -> None:
    for text, why in (
        ("169.254.169.254", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("::ffff:10.0.0.1", "private"),
        ("2606:4700::1%2", "scoped"),
        ("4000::1", "reserved"),
    ):
        assert refused_because(ipaddress.ip_address(text)) == why
