"""The PROXY protocol: what is a header, whom it names, and that never a byte beyond it is asked for."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.proxy_protocol import BINARY_MAX, SIGNATURE, NotProxyProtocol, announced_address, wanted


def binary(command: int = 0x21, family: int = 0x11, addresses: bytes | None = None, more: bytes = b"") -> bytes:
    """A header of version 2, from 192.0.2.1 to 192.0.2.2 unless it says otherwise."""
    if addresses is None:
        addresses = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack(">HH", 1000, 443)
    body = addresses + more
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body


def six(source: str) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    return ends + struct.pack(">HH", 1000, 443)


NAMED = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n", "192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n", "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1000 443\r\n", "192.0.2.1"),
    (b"PROXY TCP6 %b %b 65535 65535\r\n" % ((b"ffff:" * 8)[:-1], (b"ffff:" * 8)[:-1]), (b"ffff:" * 8)[:-1].decode()),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN %b %b 65535 65535\r\n" % ((b"ffff:" * 8)[:-1], (b"ffff:" * 8)[:-1]), None),
    (b"PROXY UNKNOWN what ever this is\r\n", None),
    (binary(), "192.0.2.1"),
    (binary(more=b"\x04\x00\x03abc\x20\x00\x05\x01\0\0\0\0"), "192.0.2.1"),
    (binary(more=b"not at all an extension"), "192.0.2.1"),
    (binary(family=0x21, addresses=six("2001:db8::1")), "2001:db8::1"),
    (binary(family=0x21, addresses=six("::ffff:192.0.2.1")), "192.0.2.1"),
    (binary(0x20), None),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0xFF, b"\0" * 3), None),
    (binary(0x21, 0x00, b""), None),
    (binary(0x21, 0x12), None),
    (binary(0x21, 0x31, b"\0" * 216), None),
]
WRONG = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\n",
    b"PROXY TCP4  192.0.2.1 192.0.2.2 1000 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1000\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 65536\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 0443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 +443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.256 1000 443\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1000 443\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1000 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 fe80::2%eth0 1000 443\r\n",
    b"PROXY TCP5 192.0.2.1 192.0.2.2 1000 443\r\n",
    b"PROXY tcp4 192.0.2.1 192.0.2.2 1000 443\r\n",
    b"PROXY UNKNOWN\xff\r\n",
    b"PROXY \xff\xff\xff\xff\xff\xff\xff\r\n",
    b"PROXY \r\nGET / HT",
    binary(0x11),
    binary(0x22),
    binary(family=0x13),
    binary(family=0x41),
    binary(addresses=b"\xc0\0\x02\x01"),
    binary(family=0x21),
]
NONE = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"proxy ",
    b"PROXZ",
    b"\r\n\r\nGET",
    b"\0",
    b"PROXY UNKNOWN" + b"a" * 95,
]


@pytest.mark.parametrize(("header", "address"), NAMED)
def test_a_header_names_its_client(header: bytes, address: str | None) -> None:
    assert wanted(header) == 0
    assert announced_address(header) == address


@pytest.mark.parametrize("header", WRONG)
def test_what_looks_like_a_header_and_is_none_is_refused(header: bytes) -> None:
    assert wanted(header) == 0
    with pytest.raises(NotProxyProtocol):
        announced_address(header)


@pytest.mark.parametrize("data", NONE)
def test_what_is_no_header_is_known_by_its_beginning(data: bytes) -> None:
    with pytest.raises(NotProxyProtocol):
        wanted(data)


def test_a_header_has_a_largest_size() -> None:
    assert wanted(binary(more=b"x" * (BINARY_MAX - 28))) == 0
    assert wanted(binary(more=b"x" * (BINARY_MAX - 28))[:16]) == BINARY_MAX - 16
    with pytest.raises(NotProxyProtocol):
        wanted(binary(more=b"x" * (BINARY_MAX - 27))[:16])


@pytest.mark.parametrize(("header", "address"), NAMED)
def test_no_byte_beyond_a_header_is_ever_asked_for(header: bytes, address: str | None) -> None:
    data, rest = b"", header + b"GET / HTTP/1.1\r\n\r\n"
    while more := wanted(data):
        data, rest = data + rest[:more], rest[more:]
    assert data == header
    assert announced_address(data) == address


@given(st.one_of(st.binary(max_size=120), st.binary(max_size=60).map(lambda rest: SIGNATURE + rest)))
def test_whatever_comes_is_a_header_or_refused(data: bytes) -> None:
    with contextlib.suppress(NotProxyProtocol):
        while more := wanted(data):
            data += b"\r\n"[: max(1, min(more, 2))]
        announced_address(data)
