"""Addresses, networks and who the client is (hazards 21 and 22)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.network import (
    AddressSet,
    NetworkSyntaxError,
    client_address,
    limiter_subject,
    parse_address,
    parse_network,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("::203.0.113.7", "::cb00:7107"),
        ("fe80::1%eth0", None),
        ("203.0.113.07", None),
        ("203.0.113", None),
        ("3405803783", None),
        ("0x7f.0.0.1", None),
        ("127.0.0.1 ", None),
        ("", None),
        ("localhost", None),
        ("1.2.3.4/32", None),
    ],
)
def test_addresses_are_read_strictly_and_mapped_ones_as_ipv4(text: str, expected: str | None) -> None:
    parsed = parse_address(text)
    assert (None if parsed is None else str(parsed)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", (4, 8, 10 << 24)),
        ("10.1.2.3", (4, 32, 0x0A010203)),
        ("0.0.0.0/0", (4, 0, 0)),
        ("::/0", (6, 0, 0)),
        ("2001:db8::/32", (6, 32, 0x20010DB8 << 96)),
        ("::ffff:10.0.0.0/104", (4, 8, 10 << 24)),
        ("::ffff:10.1.2.3", (4, 32, 0x0A010203)),
        ("::ffff:0:0/96", (4, 0, 0)),
        ("::ffff:0:0/95", None),
        ("::/90", (6, 90, 0)),
    ],
)
def test_networks_are_read_with_mapped_ones_as_ipv4(text: str, expected: tuple[int, int, int] | None) -> None:
    if expected is None:
        with pytest.raises(NetworkSyntaxError):
            parse_network(text)
    else:
        assert parse_network(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1/8", r'"10.0.0.1/8" has host bits under its mask; did you mean 10.0.0.0/8\?'),
        ("2001:db8::1/32", r"did you mean 2001:db8::/32\?"),
        ("10.0.0.0/33", "is neither an address nor a CIDR"),
        ("10.0.0.0/-1", "is neither an address nor a CIDR"),
        ("10.0.0.0/255.0.0.0", "dotted masks are not accepted"),
        ("10.0.0.0/", "is neither an address nor a CIDR"),
        ("010.0.0.0/8", "is neither an address nor a CIDR"),
        ("fe80::1%eth0", "zone ids"),
        ("fe80::%eth0/64", "zone ids"),
        ("", "is neither an address nor a CIDR"),
        ("*", "is neither an address nor a CIDR"),
        ("10.0.0.0/8 ", "is neither an address nor a CIDR"),
    ],
)
def test_network_that_cannot_be_used_is_refused_with_a_sentence(text: str, expected: str) -> None:
    with pytest.raises(NetworkSyntaxError, match=expected):
        AddressSet([text])


_V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
_V6 = st.integers(0, 2**128 - 1).map(IPv6Address)
_NEAR_V4 = st.integers(0, 7).map(lambda number: IPv4Address(0x0A000000 + number))
_NEAR_V6 = st.integers(0, 7).map(lambda number: IPv6Address((0x20010DB8 << 96) + number))
_MAPPED = st.integers(0, 7).map(lambda number: IPv6Address((0xFFFF << 32) + 0x0A000000 + number))
_ADDRESSES = st.one_of(_V4, _V6, _NEAR_V4, _NEAR_V6, _MAPPED)


def _network(address: IPv4Address | IPv6Address, bits: int) -> IPv4Network | IPv6Network:
    return ip_network((address, bits % (address.max_prefixlen + 1)), strict=False)


_NETWORKS = st.lists(st.builds(_network, _ADDRESSES, st.one_of(st.integers(0, 128), st.integers(28, 32))), max_size=5)


def _naive(address: IPv4Address | IPv6Address, networks: list[IPv4Network | IPv6Network]) -> bool:
    """Ask `ipaddress`, with IPv4-mapped addresses and networks in IPv4's place."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    for network in networks:
        mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
        unmapped = ip_network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network
        if address in unmapped:
            return True
    return False


@given(_ADDRESSES, _NETWORKS)
def test_address_set_agrees_with_ipaddress(
    address: IPv4Address | IPv6Address, networks: list[IPv4Network | IPv6Network]
) -> None:
    addresses = AddressSet(str(network) for network in networks)
    assert (str(address) in addresses) == _naive(address, networks)
    assert (str(address) in addresses) == _naive(address, networks), "remembered"


@given(_ADDRESSES)
def test_every_address_is_in_the_network_of_itself_alone(address: IPv4Address | IPv6Address) -> None:
    addresses = AddressSet([str(address)])
    assert str(address) in addresses
    assert str(ip_address(int(address) ^ 1) if address.version == 4 else IPv6Address(int(address) ^ 1)) not in addresses


def test_text_that_is_no_address_is_in_no_set() -> None:
    assert "localhost" not in AddressSet(["0.0.0.0/0", "::/0"])
    assert "fe80::1%eth0" not in AddressSet(["::/0"])


def test_mapped_client_is_found_in_an_ipv4_network_and_not_in_an_ipv6_one() -> None:
    assert "::ffff:10.1.2.3" in AddressSet(["10.0.0.0/8"])
    assert "10.1.2.3" in AddressSet(["::ffff:10.0.0.0/104"])
    assert "::ffff:10.1.2.3" not in AddressSet(["::/0"])


def test_answers_stay_right_when_more_addresses_are_asked_than_are_remembered() -> None:
    addresses = AddressSet(["10.0.0.0/22"])
    asked = [str(IPv4Address(0x0A000000 + number)) for number in range(1500)]
    for _ in range(2):
        assert sum(text in addresses for text in asked) == 1024
    assert len(addresses._remembered) <= 1024


def test_sets_are_equal_when_they_were_written_alike() -> None:
    assert AddressSet(["10.0.0.0/8"]) == AddressSet(["10.0.0.0/8"])
    assert AddressSet(["10.0.0.0/8"]) != AddressSet([])
    assert AddressSet([]) != ()
    assert hash(AddressSet(["::1"])) == hash(AddressSet(["::1"]))
    assert repr(AddressSet(["::1"])) == "AddressSet(['::1'])"
    assert AddressSet(["::1"])
    assert not AddressSet([])


PROXIES = AddressSet(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1,fd00::2 , 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.01"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:evil"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:471100"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:_hidden"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]evil"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1"], "10.0.0.1"),
        ("10.0.0.1", ["_hidden"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.9.evil.example"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["fd00::1"] * 500 + ["198.51.100.1"] + ["10.0.0.2"] * 500, "198.51.100.1"),
        ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
        ("unix", ["198.51.100.1"], "unix"),
    ],
)
def test_client_is_the_rightmost_hop_that_is_no_trusted_proxy(
    peer: str, forwarded_for: list[str], expected: str
) -> None:
    assert client_address(peer, PROXIES, forwarded_for, []) == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["for=198.51.100.1"], "198.51.100.1"),
        (["For = 198.51.100.1;proto=https;by=10.0.0.1"], "198.51.100.1"),
        (["for=192.0.2.66, for=198.51.100.1"], "198.51.100.1"),
        (["for=198.51.100.1", "for=10.0.0.2"], "198.51.100.1"),
        (["for=192.0.2.66", "for=198.51.100.1"], "198.51.100.1"),
        (['for="198.51.100.1:4711"'], "198.51.100.1"),
        (['for="[2001:db8::1]:4711"'], "2001:db8::1"),
        (['for="[2001:db8::1]";host="a,b"'], "2001:db8::1"),
        (['for=198.51.100.1;host="for=192.0.2.66"'], "198.51.100.1"),
        (['for=198.51.100.1;host=";for=192.0.2.66"'], "198.51.100.1"),
        (['host="a, for=192.0.2.66";for=198.51.100.1'], "198.51.100.1"),
        (['for=198.51.100.1;host="a, for=192.0.2.66"'], "198.51.100.1"),
        (['for=198.51.100.1;host="a, for=192.0.2.66;b=\\""'], "198.51.100.1"),
        (['for=", for="198.51.100.1:4711"'], "198.51.100.1"),
        (['for=192.0.2.66;host=", for=198.51.100.1'], "198.51.100.1"),
        (['for=192.0.2.66;host=", for="[2001:db8::1]"'], "2001:db8::1"),
        (['for=", for="198.51.100.1:4711", for=10.0.0.2'], "198.51.100.1"),
        (["proto=http, for=10.0.0.2"], "10.0.0.2"),
        (["xfor=198.51.100.1"], "10.0.0.1"),
        (["for=198.51.100.1, junk"], "10.0.0.1"),
        (["for=10.0.0.3,for=10.0.0.2"], "10.0.0.3"),
        (["for=192.0.2.66;for=198.51.100.1"], "10.0.0.1"),
        (["for=198.51.100.1;FOR=198.51.100.1"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["for=unknown"], "10.0.0.1"),
        (["for=_hidden"], "10.0.0.1"),
        (["proto=https"], "10.0.0.1"),
        (['for="'], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_like_rfc_7239(forwarded: list[str], expected: str) -> None:
    assert client_address("10.0.0.1", PROXIES, [], forwarded) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "forwarded", "expected"),
    [
        ("10.0.0.1", ["198.51.100.1"], ["for=198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], ['for="198.51.100.1:4711"'], "198.51.100.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], ["for=198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1"], ["for=192.0.2.66"], None),
        ("10.0.0.1", ["198.51.100.1"], ["for=unknown"], None),
        ("10.0.0.1", ["junk"], ["for=198.51.100.1"], None),
        ("10.0.0.1", ["198.51.100.1"], [""], None),
        ("10.0.0.1", ["unknown"], ["for=_hidden"], "10.0.0.1"),
        ("203.0.113.9", ["198.51.100.1"], ["for=192.0.2.66"], "203.0.113.9"),
    ],
)
def test_two_fields_that_name_different_clients_name_none(
    peer: str, forwarded_for: list[str], forwarded: list[str], expected: str | None
) -> None:
    assert client_address(peer, PROXIES, forwarded_for, forwarded) == expected


def test_nobody_is_believed_by_default() -> None:
    assert client_address("127.0.0.1", AddressSet([]), ["198.51.100.1"], ["for=198.51.100.1"]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("unix", "unix"),
    ],
)
def test_ipv6_clients_are_limited_by_their_64(address: str, subject: str) -> None:
    assert limiter_subject(address) == subject
