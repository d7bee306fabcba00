"""nginx with the configuration that is rendered for it: what it refuses by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.proxies import Modes


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400 bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 bad_request"),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /../../a HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /_gateway/authz HTTP/1.1\r\nHost: a\r\n\r\n", "404 not_found"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "414 uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n", "431 header_fields_too_large"),
    ],
)
def test_what_nginx_refuses_itself_has_our_form(modes: Modes, request_bytes: bytes, code: str) -> None:
    with modes.proxies["nginx"].connect(fresh_address()) as wire:
        wire.send(request_bytes)
        answer = wire.answer()
    assert answer.code == code
    assert answer.json["requestId"] == answer.one("x-request-id")
    assert answer.one("content-type") == "application/json; charset=utf-8"
