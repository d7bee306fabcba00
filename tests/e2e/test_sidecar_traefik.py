"""Traefik with the configuration that is rendered for it: what it promises beside the table, which is less than others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain
from tests.demos import wait_until
from tests.owners import Owner
from tests.sidecar_cases import BUDGETS, PRODUCTS
from tests.wire import fresh_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.proxies import Modes, Proxy
    from tests.wire import Answer


@pytest.fixture
def traefik(modes: Modes) -> Iterator[Proxy]:
    modes.gateway.backend.forget()
    yield modes.proxies["traefik"]
    modes.gateway.backend.forget()


def ask(proxy: Proxy, method: str, path: str, key: str | None = None, *fields: str, body: bytes = b"") -> Answer:
    with proxy.connect(fresh_address()) as wire:
        return wire.ask(method, path, key, fields, body)


def test_a_body_passes_whole_and_one_that_is_refused_not_at_all(modes: Modes, traefik: Proxy) -> None:
    body = b"0123456789abcdef" * 100_000
    assert ask(traefik, "POST", PRODUCTS, modes.gateway.readonly, body=body).code == "403 insufficient_scope"
    assert not modes.gateway.backend.requests
    assert ask(traefik, "POST", PRODUCTS, modes.gateway.everything, body=body).status == 200
    assert modes.gateway.backend.last.digest == hashlib.sha256(body).hexdigest()


def test_a_chunked_body_beyond_the_limit_is_refused_too(modes: Modes, traefik: Proxy) -> None:
    with traefik.connect(fresh_address()) as wire:
        head = f"POST {BUDGETS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {modes.gateway.everything}\r\n"
        wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\nf4241\r\n" + b"x" * 1_000_001 + b"\r\n0\r\n\r\n")
        assert wire.answer("POST").status == 413
    assert not modes.gateway.backend.requests


def test_a_backend_cannot_say_what_is_ours(modes: Modes, traefik: Proxy) -> None:
    modes.gateway.backend.answer = plain(fields=b"X-RateLimit-Limit: 7\r\nX-Gateway-Key-Id: a\r\nX-Request-Id: a\r\n")
    answer = ask(traefik, "GET", BUDGETS, modes.gateway.everything)
    assert answer.status == 200
    for name in ("x-ratelimit-limit", "x-gateway-key-id", "x-request-id"):
        assert not answer.all(name)


def test_the_gateways_own_answers_come_through(modes: Modes, traefik: Proxy) -> None:
    assert ask(traefik, "GET", "/v1/api-keys").code == "401 unauthorized"
    test = b'{"event": "budget.created", "data": {}}'
    fields = ("Content-Type: application/json", "Forwarded: for=203.0.113.9")
    answer = ask(traefik, "POST", "/api/public/webhooks/test", modes.gateway.make_key(), *fields, body=test)
    assert (answer.status, answer.one("x-ratelimit-limit")) == (200, "10")


def test_a_revoked_key_is_refused(modes: Modes, traefik: Proxy) -> None:
    owner = Owner(modes.gateway)
    made = owner.create()
    assert ask(traefik, "GET", BUDGETS, made["key"]).status == 200
    owner.change(made["id"], {"status": "REVOKED"})
    assert wait_until(lambda: ask(traefik, "GET", BUDGETS, made["key"]).code == "401 api_key_revoked", 5)
