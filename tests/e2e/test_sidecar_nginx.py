"""nginx with the configuration that is rendered for it: faults, bodies, what the gateway answers itself, revocation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain, raw, silent
from tests.demos import wait_until
from tests.gateways import run
from tests.owners import PASSWORD, Owner, make_user
from tests.proxies import nginx
from tests.servers import make_database
from tests.serving import serving
from tests.wire import CutShort, fresh_address

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.proxies import Modes, Proxy
    from tests.wire import Answer

BUDGETS = "/api/public/budgets"


def ask(
    proxy: Proxy, method: str, path: str, key: str | None = None, *fields: str, body: bytes | None = None
) -> Answer:
    with proxy.connect(fresh_address()) as wire:
        return wire.ask(method, path, key, fields, body)


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/api/public/gone", plain()), (BUDGETS, silent), (BUDGETS, raw(b"", close=True))],
    ids=["away", "silent", "closes"],
)
def test_what_befalls_the_upstream_is_told_as_in_proxy_mode(modes: Modes, path: str, answer: object) -> None:
    key = modes.gateway.everything
    told = []
    for port in (modes.gateway, modes.nginx):
        modes.gateway.backend.forget()
        modes.gateway.backend.answer = answer
        with port.connect(fresh_address()) as wire:
            refused = wire.ask("GET", path, key)
        assert refused.json["requestId"] == refused.one("x-request-id")
        told.append((refused.code, refused.json["message"], refused.json["details"], refused.all("cache-control")))
    modes.gateway.backend.forget()
    assert told[0] == told[1]


def test_a_backends_own_refusal_passes_untouched(modes: Modes) -> None:
    body = b'{"mine": true}'
    for status in ("401 Unauthorized", "403 Forbidden", "404 Not Found", "413 Content Too Large", "500 Oh", "503 No"):
        modes.gateway.backend.answer = plain(body, status, b"X-Gateway-Status: 200\r\nX-Accel-Redirect: /api-keys\r\n")
        answer = ask(modes.nginx, "GET", BUDGETS, modes.gateway.everything)
        assert (answer.status, answer.body) == (int(status[:3]), body)
        assert not answer.all("x-gateway-status")
        assert answer.one("x-ratelimit-remaining")
    modes.gateway.backend.forget()


def test_a_backend_cannot_set_what_is_ours(modes: Modes) -> None:
    fields = b"X-RateLimit-Limit: 7\r\nX-Request-Id: mine\r\nX-Gateway-Key-Id: mine\r\nServer: mine\r\n"
    modes.gateway.backend.answer = plain(fields=fields)
    answer = ask(modes.nginx, "GET", BUDGETS, modes.gateway.everything)
    assert answer.one("x-ratelimit-limit") == "1000000"
    assert answer.one("x-request-id").startswith("req_")
    assert not answer.all("x-gateway-key-id")
    assert answer.one("server") == "mine"
    modes.gateway.backend.forget()


def test_the_id_of_the_answer_is_the_one_that_the_backend_got(modes: Modes) -> None:
    answer = ask(modes.nginx, "GET", BUDGETS, modes.gateway.everything, "X-Request-Id: mine")
    assert answer.one("x-request-id") == modes.gateway.backend.last.one("x-request-id") != "mine"


def test_a_large_body_goes_through_whole(modes: Modes) -> None:
    body = b"0123456789abcdef" * 500_000
    modes.gateway.backend.forget()
    answer = ask(modes.nginx, "POST", "/api/public/products", modes.gateway.everything, body=body)
    assert answer.status == 200
    received = modes.gateway.backend.last
    assert (received.size, received.digest) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_chunked_body_goes_through_whole(modes: Modes) -> None:
    modes.gateway.backend.forget()
    with modes.nginx.connect(fresh_address()) as wire:
        head = f"POST {BUDGETS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {modes.gateway.everything}\r\n"
        wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert wire.answer("POST").status == 200
    assert modes.gateway.backend.last.body == b"hello"


def test_a_body_that_is_refused_never_reaches_the_backend(modes: Modes) -> None:
    modes.gateway.backend.forget()
    answer = ask(modes.nginx, "POST", BUDGETS, modes.gateway.readonly, body=b"x" * 100_000)
    assert answer.code == "403 insufficient_scope"
    assert not modes.gateway.backend.requests


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
    with modes.nginx.connect(fresh_address()) as wire:
        wire.send(request_bytes)
        answer = wire.answer()
    assert answer.code == code
    assert answer.json["requestId"] == answer.one("x-request-id")
    assert answer.one("content-type") == "application/json; charset=utf-8"


def test_the_gateways_own_answers_come_through_nginx(modes: Modes) -> None:
    body = f'{{"email": "{make_user(modes.gateway)}", "password": "{PASSWORD}"}}'.encode()
    login = ask(modes.nginx, "POST", "/v1/auth/login", None, "Content-Type: application/json", body=body)
    assert login.status == 200
    token = login.json["token"]
    modes.gateway.never_log(token)
    source, spoofed = (
        fresh_address(),
        ("X-Request-Id: mine", "Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.9"),
    )
    with modes.nginx.connect(source) as wire:
        answer = wire.ask("GET", "/api-keys", None, [f"Authorization: Bearer {token}", *spoofed])
    assert answer.json["data"] == []
    assert answer.one("x-request-id") != "mine"
    assert modes.gateway.event(answer.one("x-request-id"))["client_ip"] == source
    assert ask(modes.nginx, "GET", "/api-keys").code == "401 unauthorized"
    test = b'{"event": "budget.created", "data": {}}'
    fields = ("Content-Type: application/json",)
    answer = ask(modes.nginx, "POST", "/api/public/webhooks/test", modes.gateway.everything, *fields, body=test)
    assert (answer.status, answer.one("x-ratelimit-limit")) == (200, "10")


def test_a_revoked_key_is_refused_through_nginx(modes: Modes) -> None:
    owner = Owner(modes.gateway)
    made = owner.create()
    assert ask(modes.nginx, "GET", BUDGETS, made["key"]).status == 200
    owner.change(made["id"], {"status": "REVOKED"})
    assert wait_until(lambda: ask(modes.nginx, "GET", BUDGETS, made["key"]).code == "401 api_key_revoked", 5)


def test_many_requests_on_one_connection_are_each_decided_on(modes: Modes) -> None:
    keys = modes.gateway.everything, None, modes.gateway.readonly, "bk_live_0123456789abcdef0123456789abcdef"
    with modes.nginx.connect(fresh_address()) as wire:
        statuses = [wire.ask("DELETE", f"{BUDGETS}/1", key).status for key in keys * 3]
    assert statuses == [200, 401, 403, 401] * 3


@pytest.mark.timeout(60)
def test_without_the_gateway_nothing_is_admitted(
    tmp_path: Path, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    dsn = run(make_database(postgres_server, "of_a_gateway_that_goes"))
    (tmp_path / "nginx").mkdir()
    with serving(tmp_path, dsn, valkey_server.url) as gateway, nginx(gateway, tmp_path / "nginx") as proxy:
        key = gateway.readonly
        assert ask(proxy, "GET", BUDGETS, key).status == 200
        assert gateway.end() == 0
        gateway.backend.forget()
        refused = ask(proxy, "GET", BUDGETS, key)
        assert refused.code == "503 service_unavailable"
        assert refused.one("retry-after")
        assert not gateway.backend.requests


def test_an_answer_that_breaks_off_is_seen_to(modes: Modes) -> None:
    modes.gateway.backend.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True)
    with pytest.raises(CutShort):
        ask(modes.nginx, "GET", BUDGETS, modes.gateway.everything)
    modes.gateway.backend.forget()
