"""Plain heads: what is read of them without aiohttp is what aiohttp reads, and nothing odd is taken for plain."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.http import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.head import TRACEPARENT, PlainHeadReader, RequestHead

PLAIN = b"GET /api/public/budgets?page=2 HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer bk_live_x\r\n\r\n"
NAMES = ["Host", "host", "Authorization", "Accept", "X-Thing", "x_thing", "Cookie", "traceparent", "Connection", "TE"]
VALUES = ["a", "a.example:80", "Bearer bk_live_0", "", "keep-alive", "close", "caf\xe9", "x y", " padded ", "a\tb"]
LINES = st.tuples(st.sampled_from(NAMES), st.sampled_from([":", ": ", ":  "]), st.sampled_from(VALUES)).map("".join)
FIRST = st.tuples(
    st.sampled_from(["GET", "HEAD", "DELETE", "POST", "get", "GETS"]),
    st.sampled_from(["/", "/a", "/a/b?c=d", "/%2e", "http://b/c", "*", "a", "/a#b", "/caf\xe9"]),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1"]),
).map(" ".join)
HEADS = st.tuples(FIRST, st.lists(LINES, max_size=6)).map(
    lambda parts: ("\r\n".join((parts[0], *parts[1])) + "\r\n\r\n").encode("latin-1")
)
BREAKS = st.tuples(st.integers(0, 200), st.sampled_from([b"\0", b"\n", b"\r", b" ", b"\x7f", b"\xff", b":", b""]))


def read_by_aiohttp(data: bytes) -> RequestHead:
    loop = asyncio.new_event_loop()
    try:
        ((message, _),), upgraded, rest = HttpRequestParser(None, loop, 2**16).feed_data(data)
    finally:
        loop.close()
    assert not upgraded
    assert rest == b""
    return RequestHead.from_message(message)


def by_name(head: RequestHead) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in head.headers.items()]


def must_agree(data: bytes) -> None:
    agrees(PlainHeadReader().read(data), data)
    again = PlainHeadReader()
    if again.read(b"GET /first HTTP/1.1" + data[data.find(b"\r\n") :]) is not None:
        agrees(again.read(data), data)


def agrees(head: RequestHead | None, data: bytes) -> None:
    if head is None:
        return
    other = read_by_aiohttp(data)
    assert (head.method, head.path, head.version) == (other.method, other.path, other.version)
    assert list(head.section.raw) == list(other.section.raw)
    one, two = head.section, other.section
    assert (list(one.hosts), list(one.authorizations)) == (list(two.hosts), list(two.authorizations))
    assert one.traceparent == two.traceparent
    assert by_name(head) == by_name(other)
    assert (two.special, other.should_close, other.upgrade) == (False, False, False)


@given(HEADS)
def test_what_is_taken_for_plain_is_read_as_aiohttp_reads_it(data: bytes) -> None:
    must_agree(data)


@given(HEADS, BREAKS)
def test_no_broken_head_is_read_otherwise_than_by_aiohttp(data: bytes, broken: tuple[int, bytes]) -> None:
    position, byte = broken
    data = data[:-4]
    must_agree(data[:position] + byte + data[position:] + b"\r\n\r\n")


def test_a_plain_head_is_plain() -> None:
    head = PlainHeadReader().read(PLAIN)
    assert head is not None
    assert (head.path, head.section.hosts) == ("/api/public/budgets?page=2", ("a.example",))
    assert head.section.authorizations == ("Bearer bk_live_x",)
    assert head.headers["AUTHORIZATION"] == "Bearer bk_live_x"
    assert TRACEPARENT not in head.headers


def test_one_connection_has_many_heads() -> None:
    reader = PlainHeadReader()
    for number in range(3):
        head = reader.read(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % number)
        assert head is not None
        assert (head.path, len(head.section.raw)) == (f"/{number}", 2)


def test_fields_that_come_again_are_not_read_again() -> None:
    reader = PlainHeadReader()
    first, again = (reader.read(b"%b /1 HTTP/1.1\r\nHost: a\r\n\r\n" % method) for method in (b"GET", b"DELETE"))
    other = reader.read(b"GET /1 HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n")
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.section is again.section
    assert other.section is not again.section
    assert (again.method, len(other.section.raw)) == ("DELETE", 2)


@pytest.mark.parametrize(
    "line",
    [b"GET /1 HTTP/1.0", b"GET 1 HTTP/1.1", b"PUT /1 HTTP/1.1", b"GET /1 HTTP/1.1\r\nTE: a", b" GET /1 HTTP/1.1", b""],
)
def test_known_fields_make_no_odd_line_plain(line: bytes) -> None:
    reader, fields = PlainHeadReader(), b"\r\nHost: a\r\n\r\n"
    assert reader.read(b"GET / HTTP/1.1" + fields) is not None
    assert reader.read(line + fields) is None


@pytest.mark.parametrize(
    "field",
    [
        *("Host: b", "Authorization: Bearer two", "Connection: close", "Connection: X-Thing", "TE: trailers"),
        *("Content-Length: 0", "content-length: 3", "Transfer-Encoding: chunked", "Expect: 100-continue"),
        *("Upgrade: websocket", "X: folded\r\n line", "X: space at the end ", "X: tab at the end\t", "X : a", "X"),
    ],
)
def test_what_needs_care_is_not_plain(field: str) -> None:
    assert PlainHeadReader().read(PLAIN[:-2] + field.encode() + b"\r\n\r\n") is None


def test_a_head_without_host_is_not_plain() -> None:
    assert PlainHeadReader().read(b"GET / HTTP/1.1\r\nAccept: a\r\n\r\n") is None
