"""Methods are exact words, headers cannot change them, and nothing becomes a tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.backends import plain
from tests.hazards import TIERS
from tests.wire import request_bytes

if TYPE_CHECKING:
    from tests.gateways import Gateway

pytestmark = TIERS

PATH = "/api/public/budgets"


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "GETX"])
def test_a_method_that_no_route_allows_is_405_for_everyone(gateway: Gateway, method: str) -> None:
    for key in (None, gateway.everything):
        answer = gateway.ask(method, PATH, key)
        assert answer.status in (400, 405)
        if answer.status == 405:
            assert answer.one("allow") == "DELETE, GET, HEAD, POST, PUT"
    assert not gateway.backend.requests


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override", "X.HTTP.Method"]
)
def test_a_header_cannot_change_the_method(gateway: Gateway, name: str) -> None:
    assert gateway.ask("GET", PATH, gateway.readonly, [f"{name}: DELETE"]).status == 200
    received = gateway.backend.last
    assert received.line == f"GET {PATH} HTTP/1.1"
    assert b"DELETE" not in received.head


def test_head_is_what_get_is_without_a_body(gateway: Gateway) -> None:
    gateway.backend.answer = plain(b"a" * 1234, fields=b"ETag: x\r\n")
    with gateway.connect() as wire:
        head = wire.ask("HEAD", PATH, gateway.readonly)
        assert (head.status, head.one("content-length"), head.one("etag")) == (200, "1234", "x")
        assert gateway.backend.last.method == "HEAD"
        assert wire.ask("HEAD", "/api/public/customers", gateway.readonly).status == 403
        assert wire.ask("HEAD", "/nowhere", gateway.readonly).status == 404
        assert len(wire.ask("GET", PATH, gateway.readonly).body) == 1234


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket"])
def test_a_websocket_is_refused(gateway: Gateway, upgrade: str) -> None:
    fields = ["Connection: Upgrade", f"Upgrade: {upgrade}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: YQ=="]
    with gateway.connect() as wire:
        assert wire.ask("GET", PATH, gateway.everything, fields).code == "501 not_implemented"
        assert wire.ended()
    assert not gateway.backend.requests


def test_another_protocol_is_not_taken_up(gateway: Gateway) -> None:
    fields = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"]
    with gateway.connect() as wire:
        assert wire.ask("GET", PATH, gateway.everything, fields).status == 200
        received = gateway.backend.last
        assert not [name for name in ("upgrade", "http2-settings", "connection") if received.all(name)]
        assert wire.ask("GET", PATH, gateway.everything).status == 200


def test_an_answer_to_another_version_is_in_our_own(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.everything).replace(b"HTTP/1.1", b"HTTP/2.0"))
        assert wire.answer().head.startswith(b"HTTP/1.1 505 ")
        assert wire.ended()


class TestHttp10:
    """A client of 1996 gets what it understands."""

    @staticmethod
    def ask(gateway: Gateway, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
        lines = [f"{method} {PATH} HTTP/1.0", f"Authorization: Bearer {gateway.everything}", *fields, "", ""]
        return "\r\n".join(lines).encode() + body

    def test_it_gets_no_chunks_and_the_end_of_the_connection(self, gateway: Gateway) -> None:
        gateway.backend.answer = lambda _request, connection: connection.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 60_000 + b"0\r\n\r\n"
        )
        with gateway.connect() as wire:
            wire.send(self.ask(gateway))
            answer = wire.answer()
            assert not answer.all("transfer-encoding")
            assert answer.body == b"hello" * 60_000
            assert wire.ended()
        assert gateway.backend.last.line == f"GET {PATH} HTTP/1.1"

    def test_it_is_kept_alive_only_when_it_asks(self, gateway: Gateway) -> None:
        with gateway.connect() as wire:
            wire.send(self.ask(gateway, "Connection: keep-alive"))
            assert wire.answer().one("connection") == "keep-alive"
            wire.send(self.ask(gateway))
            answer = wire.answer()
            assert (answer.status, answer.body) == (200, b'{"ok":true}')
            assert wire.ended()

    def test_it_knows_no_transfer_encoding(self, gateway: Gateway) -> None:
        body = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
        with gateway.connect() as wire:
            wire.send(self.ask(gateway, "Transfer-Encoding: chunked", method="POST", body=body))
            assert wire.answer().status == 400
            assert wire.ended()
        assert not gateway.backend.requests
