"""The PROXY protocol: what a balancer that passes connections on says of where each came from, versions 1 and 2.

It is a header before the first byte of the connection itself (HAProxy's proxy-protocol.txt, sections 2.1 and 2.2). It
is read in steps that never ask for a byte beyond it, because what follows is for somebody else: TLS, or HTTP.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from gateway.core.network import parse_address

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
TEXT_MAX: Final = 107
"""Bytes of the longest header of version 1, with its line end."""
BINARY_MAX: Final = 4096
"""Bytes of a header of version 2: room for many times the extensions (TLVs) that balancers write."""
TEXT: Final = b"PROXY "
"""What a header of version 1, a line, begins with."""
_TEXT_MIN: Final = 15
_BINARY_START: Final = 16
_LOCAL, _PROXY = 0x20, 0x21
_VERSIONS: Final = {"TCP4": 4, "TCP6": 6}
_TCP: Final = {0x11: 4, 0x21: 16}
_UNNAMED: Final = {0x00, 0x12, 0x22, 0x31, 0x32}
"""What has no address, or is none of TCP: the connection's own address is used."""


class NotProxyProtocol(Exception):
    """What came is not a header of the PROXY protocol."""


def wanted(data: bytes) -> int:
    """Say how many bytes more of the header there are at least after *data*, 0 if it is complete.

    In a line of version 1 they are to be looked for one by one. Raises NotProxyProtocol as soon as *data* cannot become
    a header.
    """
    if data.startswith(TEXT[: len(data)]):
        return _wanted_of_text(data)
    if not data.startswith(SIGNATURE[: len(data)]):
        raise NotProxyProtocol
    if len(data) < _BINARY_START:
        return _BINARY_START - len(data)
    size = _BINARY_START + int.from_bytes(data[14:16], "big")
    if size > BINARY_MAX:
        raise NotProxyProtocol
    return size - len(data)


def _wanted_of_text(data: bytes) -> int:
    if b"\n" in data:
        return 0
    if len(data) >= TEXT_MAX:
        raise NotProxyProtocol
    return max(_TEXT_MIN - len(data), 1)


def announced_address(header: bytes) -> str | None:
    """Give the client's address of a complete *header*; None where it names none, as for a balancer's own check.

    IPv4-mapped IPv6 becomes IPv4. Raises NotProxyProtocol.
    """
    return _of_text(header) if header.startswith(TEXT) else _of_binary(header)


def _of_text(header: bytes) -> str | None:
    if not header.endswith(b"\r\n"):
        raise NotProxyProtocol
    try:
        _, family, *rest = header[:-2].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise NotProxyProtocol from None
    if family == "UNKNOWN":
        return None
    version = _VERSIONS.get(family)
    if version is None or len(rest) != 4:
        raise NotProxyProtocol
    source, destination, *ports = rest
    if not (_is_address(source, version) and _is_address(destination, version) and all(map(_is_port, ports))):
        raise NotProxyProtocol
    return str(parse_address(source))


def _is_address(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version and parse_address(text) is not None
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isdigit() and str(int(text)) == text and int(text) <= 65_535


def _of_binary(header: bytes) -> str | None:
    command, family = header[12], header[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise NotProxyProtocol
    size = _TCP.get(family)
    if size is None:
        if family in _UNNAMED:
            return None
        raise NotProxyProtocol
    addresses = header[_BINARY_START:]
    if len(addresses) < 2 * size + 4:
        raise NotProxyProtocol
    return str(parse_address(str(ip_address(addresses[:size]))))
