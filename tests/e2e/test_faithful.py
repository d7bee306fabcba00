"""What a backend serves arrives as it was sent: fields, statuses, ranges, lengths and trailers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.backends import plain, raw
from tests.wire import request_bytes

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.wire import Answer

PATH = "/api/public/budgets"
TRAILERS = (
    b"Trailer: Checksum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    b"Checksum: abc\r\nx-again: 1\r\nX-Again: 2\r\nCache-Control: no-store\r\nSet-Cookie: a=1\r\nX-RateLimit-Limit: 9\r\n\r\n"
)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fields_of_a_request_keep_their_number_order_and_spelling(gateway: Gateway, method: str) -> None:
    sent = ["X-b: 1", "x-A: 2", "X-B: 3", "COOKIE: a=1", "cookie: b=2", "accept-ENCODING: gzip", "X-Empty: "]
    target = f"{PATH}/a%20b?x=%41&y=a+b&&z=%e4&x=%2F..//"
    assert gateway.ask(method, target, gateway.everything, sent, b"" if method == "POST" else None).status == 200
    received = gateway.backend.last
    assert received.target == target
    names = {line.split(":")[0].lower() for line in sent}
    assert [f"{name}: {value}" for name, value in received.fields if name.lower() in names] == sent


def test_fields_of_an_answer_keep_their_number_order_and_spelling(gateway: Gateway) -> None:
    fields = b"set-COOKIE: a=1\r\nX-b: 1\r\nSet-Cookie: b=2\r\nx-B: caf\xe9\r\nLink: </a>, </b>\r\nlink: </c>\r\n"
    gateway.backend.answer = plain(fields=fields)
    assert fields in gateway.ask("GET", PATH, gateway.readonly).head


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("204 No Content", b"X-A: 1\r\n"),
        ("304 Not Modified", b'ETag: "x"\r\nContent-Length: 1234\r\n'),
        ("304 Not Modified", b'ETag: "x"\r\n'),
    ],
)
def test_an_answer_without_a_body_has_none_and_the_connection_goes_on(
    gateway: Gateway, status: str, fields: bytes
) -> None:
    gateway.backend.answer = raw(f"HTTP/1.1 {status}\r\n".encode() + fields + b"\r\n")
    with gateway.connect() as wire:
        answer = wire.ask("GET", PATH, gateway.readonly, ['If-None-Match: "x"', "If-Modified-Since: yesterday"])
        assert answer.status == int(status[:3])
        assert all(line in answer.head for line in fields.split(b"\r\n"))
        assert not answer.all("transfer-encoding")
        assert (gateway.backend.last.one("if-none-match"), gateway.backend.last.one("if-modified-since")) == (
            '"x"',
            "yesterday",
        )
        gateway.backend.answer = plain()
        assert wire.ask("GET", PATH, gateway.readonly).body == b'{"ok":true}'


def test_a_range_is_the_backends_affair(gateway: Gateway) -> None:
    parts = b"Content-Range: bytes 2-4/10\r\nAccept-Ranges: bytes\r\n"
    gateway.backend.answer = plain(b"cde", "206 Partial Content", parts)
    answer = gateway.ask("GET", PATH, gateway.readonly, ["Range: bytes=2-4", 'If-Range: "x"'])
    assert (answer.status, answer.body) == (206, b"cde")
    assert parts in answer.head
    assert (gateway.backend.last.one("range"), gateway.backend.last.one("if-range")) == ("bytes=2-4", '"x"')


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_an_empty_answer_is_empty_in_every_framing(gateway: Gateway, framing: str, version: str) -> None:
    line = {"length": b"Content-Length: 0\r\n\r\n", "chunks": b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}
    gateway.backend.answer = raw(b"HTTP/1.1 200 OK\r\n" + line.get(framing, b"\r\n"), close=framing == "close")
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.readonly).replace(b"HTTP/1.1", version.encode()))
        assert wire.answer().body == b""


def test_a_hint_is_kept_from_clients_that_may_take_it_for_the_answer(gateway: Gateway) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    gateway.backend.answer = raw(
        b"HTTP/1.1 100 Continue\r\n\r\n" + hint * 2 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = gateway.ask("GET", PATH, gateway.readonly)
    assert (answer.status, answer.body, answer.all("link")) == (200, b"ok", [])


class TestTrailers:
    """They pass to a client that says that it knows them."""

    @staticmethod
    def ask(gateway: Gateway, *fields: str, size: int = 0) -> tuple[Answer, bytes]:
        """The answer as it came, with its framing; *size* more bytes are in its body."""
        more = b"%x\r\n%b\r\n" % (size, b"a" * size) if size else b""
        gateway.backend.answer = raw(b"HTTP/1.1 200 OK\r\n" + TRAILERS.replace(b"5\r\n", more + b"5\r\n", 1))
        with gateway.connect() as wire:
            answer = wire.ask("GET", PATH, gateway.readonly, [*fields, "X-Last: 1"])
            assert answer.body == b"a" * size + b"hello"
            assert wire.ask("HEAD", "/nowhere").status == 404
        return answer, answer.trailers

    @pytest.mark.parametrize("size", [0, 600_000])
    def test_they_pass_but_for_what_may_not_stand_there(self, gateway: Gateway, size: int) -> None:
        answer, trailers = self.ask(gateway, "TE: trailers, deflate", "Connection: TE", size=size)
        assert trailers == b"Checksum: abc\r\nx-again: 1\r\nX-Again: 2\r\n"
        assert gateway.backend.last.one("te") == "trailers"
        assert gateway.backend.last.one("connection") == "TE"
        assert answer.all("transfer-encoding") == ["chunked"]

    @pytest.mark.parametrize("size", [0, 600_000])
    @pytest.mark.parametrize("fields", [(), ("TE: deflate",)])
    def test_they_are_dropped_for_all_others(self, gateway: Gateway, size: int, fields: tuple[str, ...]) -> None:
        assert self.ask(gateway, *fields, size=size)[1] == b""
        assert not gateway.backend.last.all("te")
