"""Addresses: who the client is, and sets of networks it may belong to."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_REMEMBERED_MAX: Final = 1024
_PORT: Final = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
_HOP: Final = re.compile(rf"""\s*"?(?:\[([0-9A-Fa-f:.]+)\]{_PORT}|([0-9.]+){_PORT}|([0-9A-Fa-f:.]+))"?\s*""")
_PAIR: Final = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",;]*)""")
_ELEMENT: Final = re.compile(rf"\s*{_PAIR.pattern}(?:\s*;\s*{_PAIR.pattern})*\s*")


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address strictly; IPv4-mapped IPv6 becomes IPv4, and a zone id or leading zeros give None."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
    return address


class NetworkSyntaxError(ValueError):
    """An address or CIDR that cannot be used; the message says what to write instead."""


def parse_network(text: str) -> tuple[int, int, int]:
    """Parse an address or CIDR into (version, prefix length, network as an integer).

    Raises NetworkSyntaxError, naming the corrected network when host bits stand under the mask (contract section 3).
    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        message = f'"{text[:60]}" is neither an address nor a CIDR (expected e.g. 203.0.113.7 or 203.0.113.0/24)'
        raise NetworkSyntaxError(message) from None
    host = text.partition("/")[0]
    if "%" in host or "." in text.partition("/")[2]:
        message = f'"{text[:60]}" is neither an address nor a CIDR (zone ids and dotted masks are not accepted)'
        raise NetworkSyntaxError(message)
    if int(network.network_address) != int(ip_address(host)):
        message = f'"{text}" has host bits under its mask; did you mean {network}?'
        raise NetworkSyntaxError(message)
    mapped = network.network_address.ipv4_mapped if isinstance(network.network_address, IPv6Address) else None
    if mapped is not None and network.prefixlen >= 96:
        return 4, network.prefixlen - 96, int(mapped)
    return network.version, network.prefixlen, int(network.network_address)


class AddressSet:
    """A set of addresses given as addresses and CIDRs, compiled: one set of integers per prefix length.

    Answers are remembered for up to 1,024 addresses. An address that does not parse is in no set.
    """

    __slots__ = ("_by_version", "_remembered", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Compile *texts*; raises NetworkSyntaxError for the first that is not an address or CIDR."""
        self.texts: tuple[str, ...] = tuple(texts)
        self._by_version: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        self._remembered: dict[str, bool] = {}
        for text in self.texts:
            version, length, network = parse_network(text)
            shift = (32 if version == 4 else 128) - length
            self._by_version[version].setdefault(shift, set()).add(network >> shift)

    def __contains__(self, text: str) -> bool:
        """Say whether the address *text* lies in one of the networks."""
        known = self._remembered.get(text)
        if known is None:
            known = self._compute(text)
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[text] = known
        return known

    def _compute(self, text: str) -> bool:
        address = parse_address(text)
        if address is None:
            return False
        number = int(address)
        return any((number >> shift) in networks for shift, networks in self._by_version[address.version].items())

    def __bool__(self) -> bool:
        """Say whether any network is in the set."""
        return bool(self.texts)

    def __eq__(self, other: object) -> bool:
        """Two sets are equal when they were written with the same texts."""
        return isinstance(other, AddressSet) and self.texts == other.texts

    def __hash__(self) -> int:
        """Hash by the texts."""
        return hash(self.texts)

    def __repr__(self) -> str:
        """Show the networks as they were written."""
        return f"AddressSet({list(self.texts)!r})"


def _hop_address(text: str) -> str | None:
    """Read one hop of a forwarded list: an address, perhaps with a port, then of IPv6 in brackets (RFC 7239 6)."""
    hop = _HOP.fullmatch(text)
    if hop is None:
        return None
    address = parse_address(hop[1] or hop[2] or hop[3])
    return None if address is None else str(address)


def _forwarded_hops(lines: Sequence[str]) -> Iterator[str]:
    """Give the `for` of each element of Forwarded fields, last first, and an empty hop where there is none.

    Each element is the shortest text that is one, read from the right: what a client wrote to the left, such as a quote
    that it never closes, cannot swallow what a proxy added, and what stands in quotes is never taken for a hop.
    """
    for line in reversed(lines):
        end = len(line)
        while end >= 0:
            start = line.rfind(",", 0, end) + 1
            while start > 0 and _ELEMENT.fullmatch(line, start, end) is None:
                start = line.rfind(",", 0, start - 1) + 1
            pairs = _PAIR.findall(line, start, end) if _ELEMENT.fullmatch(line, start, end) else []
            named = [value for name, value in pairs if name.lower() == "for"]
            yield named[0] if len(named) == 1 else ""
            end = start - 1


def client_address(
    peer: str, trusted: AddressSet, forwarded_for: Sequence[str], forwarded: Sequence[str]
) -> str | None:
    """Say who the client is: the peer, or what trusted proxies say of the right-most hop that is not one of them.

    *forwarded_for* are the values of all X-Forwarded-For lines in order, *forwarded* those of Forwarded (RFC 7239). A
    hop that is not an address ends the walk at the hop to its right. None if the two fields name different clients:
    proxies usually write one of them and pass the other on, as the client sent it.
    """
    address = parse_address(peer)
    current = peer if address is None else str(address)
    if not (forwarded_for or forwarded) or current not in trusted:
        return current
    found = _right_most(current, trusted, _forwarded_hops(forwarded))
    if forwarded_for:
        other = _right_most(current, trusted, reversed(",".join(forwarded_for).split(",")))
        return None if forwarded and found != other else other
    return found


def _right_most(current: str, trusted: AddressSet, hops: Iterable[str]) -> str:
    """Walk *hops* from the right as far as *trusted* reaches."""
    for text in hops:
        hop = _hop_address(text)
        if hop is None:
            return current
        current = hop
        if hop not in trusted:
            return hop
    return current


def limiter_subject(address: str) -> str:
    """Give the name under which an address is limited: itself, or its /64 for IPv6 (contract section 4)."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return address
