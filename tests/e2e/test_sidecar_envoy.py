"""Envoy with the configuration that is rendered for it: the table of all modes, faults, bodies, what it refuses itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain, raw, silent
from tests.demos import wait_until
from tests.e2e.test_sidecar_modes import TABLE, outcome
from tests.gateways import run
from tests.owners import PASSWORD, Owner, make_user
from tests.proxies import Modes, envoy
from tests.servers import make_database
from tests.serving import serving
from tests.wire import CutShort, fresh_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.e2e.test_sidecar_modes import Outcome
    from tests.proxies import Proxy
    from tests.wire import Answer

BUDGETS = "/api/public/budgets"
CHUNKED = "Transfer-Encoding: chunked"

ENVOY_DIFFERS = {
    "no scope for HEAD": ("content-type", "what Envoy answers to HEAD itself, be it for us, has no type"),
    "absolute form": ("x-forwarded-host", "Envoy takes the host from such a target and drops Host, as RFC 9112 wants"),
    "absolute form, same host": ("x-forwarded-host", "as above, so it is spelt as it is there"),
}
"""The field in which a case fares differently, and why."""


@pytest.fixture(scope="module")
def front(modes: Modes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("envoy")
    with envoy(modes.gateway, directory) as proxy:
        yield proxy
    assert "[critical]" not in (directory / "output").read_text()


def without(outcome: Outcome, field: str | None) -> Outcome:
    outcome.answer.pop(field, None)
    if outcome.backend is not None:
        outcome.backend["fields"].pop(field, None)
    return outcome


@pytest.mark.parametrize("name", TABLE)
def test_a_request_fares_the_same_through_envoy(modes: Modes, front: Proxy, name: str) -> None:
    field, _ = ENVOY_DIFFERS.get(name, (None, ""))
    proxied = without(outcome(modes.gateway, modes.gateway, TABLE[name]), field)
    decided = without(outcome(modes.gateway, front, TABLE[name]), field)
    assert decided.answer == proxied.answer
    assert decided.backend == proxied.backend
    assert decided.event == proxied.event


def ask(
    proxy: Proxy, method: str, path: str, key: str | None = None, *fields: str, body: bytes | None = None
) -> Answer:
    with proxy.connect(fresh_address()) as wire:
        return wire.ask(method, path, key, fields, body)


@pytest.mark.parametrize("query", ["?", "??a=?", "?a?b=/../c&%2e%2e=%2F", "?&&=;"])
def test_path_and_query_are_sent_as_they_were_decided_on(modes: Modes, front: Proxy, query: str) -> None:
    lines = []
    for port in (modes.gateway, front):
        modes.gateway.backend.forget()
        assert ask(port, "GET", f"/v1{BUDGETS}/1{query}", modes.gateway.everything).status == 200  # type: ignore[arg-type]  # both connect
        lines.append(modes.gateway.backend.last.line)
    assert lines[0] == lines[1] == f"GET {BUDGETS}/1{query} HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/api/public/gone", plain()), (BUDGETS, silent), (BUDGETS, raw(b"", close=True)), (BUDGETS, raw(b"?\r\n\r\n"))],
    ids=["away", "silent", "closes", "gibberish"],
)
def test_what_befalls_the_upstream_is_told_as_in_proxy_mode(
    modes: Modes, front: Proxy, path: str, answer: object
) -> None:
    told = []
    for port in (modes.gateway, front):
        modes.gateway.backend.forget()
        modes.gateway.backend.answer = answer  # type: ignore[assignment]  # one of the above
        with port.connect(fresh_address()) as wire:
            refused = wire.ask("GET", path, modes.gateway.everything)
        assert refused.json["requestId"] == refused.one("x-request-id")
        told.append((refused.code, refused.json["message"], refused.json["details"], refused.all("cache-control")))
    modes.gateway.backend.forget()
    assert told[0] == told[1]


def test_a_backend_can_refuse_but_not_set_what_is_ours(modes: Modes, front: Proxy) -> None:
    fields = b"X-RateLimit-Limit: 7\r\nX-Request-Id: mine\r\nX-Gateway-Key-Id: mine\r\nServer: mine\r\nRateLimit: a\r\n"
    body = b'{"mine": true}'
    for status in ("200 OK", "401 Unauthorized", "403 Forbidden", "413 Content Too Large", "507 Oh", "503 No"):
        modes.gateway.backend.answer = plain(body, status, fields)
        answer = ask(front, "GET", BUDGETS, modes.gateway.everything)
        assert (answer.status, answer.body) == (int(status[:3]), body)
        assert answer.one("x-ratelimit-limit") == "1000000"
        assert answer.one("ratelimit") != "a"
        assert answer.one("x-request-id").startswith("req_")
        assert not answer.all("x-gateway-key-id")
        assert answer.one("server") == "mine"
    modes.gateway.backend.forget()


def test_nothing_that_says_who_somebody_is_reaches_the_backend_in_any_spelling(modes: Modes, front: Proxy) -> None:
    spoofed = ("X-Gateway-Anything", "x_gateway_key_id", "X.Consumer.Id", "X-Credential-New", "X-Forwarded-User", "X_User_Id")
    inner = ("X-Gateway-Route", "X-Gateway-Path", "X-Gateway-Upstream", "X-Original-Content-Length", "X-Envoy-Original-Path")
    modes.gateway.backend.forget()
    answer = ask(front, "GET", BUDGETS, modes.gateway.readonly, *(f"{name}: /spoofed" for name in (*spoofed, *inner)))
    assert answer.status == 200
    assert b"spoofed" not in modes.gateway.backend.last.head
    assert not [name for name, _ in modes.gateway.backend.last.fields if name.lower().startswith("x-envoy")]
    assert ask(front, "GET", BUDGETS, None, "X-Gateway-Route: budgets.read", "X-Gateway-Path: /").status == 401


def test_a_large_body_goes_through_whole(modes: Modes, front: Proxy) -> None:
    body = b"0123456789abcdef" * 500_000
    modes.gateway.backend.forget()
    assert ask(front, "POST", "/api/public/products", modes.gateway.everything, body=body).status == 200
    received = modes.gateway.backend.last
    assert (received.size, received.digest) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_body_without_a_length_goes_through_whole_and_is_refused_when_too_large(modes: Modes, front: Proxy) -> None:
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
    for chunks, status in ((10, 200), (11, 413)):
        modes.gateway.backend.forget()
        with front.connect(fresh_address()) as wire:
            head = f"POST {BUDGETS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {modes.gateway.everything}\r\n{CHUNKED}\r\n\r\n"
            wire.send(head.encode() + chunk * chunks + b"0\r\n\r\n")
            answer = wire.answer("POST")
        assert answer.status == status
        assert [one.size for one in modes.gateway.backend.requests] == ([1_000_000] if status == 200 else [])
    assert (answer.code, answer.json["details"]) == ("413 payload_too_large", {"limitBytes": 1_000_000})


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400 bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "400 bad_request"),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /../../../metrics HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /_gateway/authz HTTP/1.1\r\nHost: a\r\n\r\n", "404 not_found"),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 50_000 + b"\r\n\r\n", "431 header_fields_too_large"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "505 version_not_supported"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "501 not_implemented"),
    ],
)
def test_what_envoy_refuses_itself_has_our_form(front: Proxy, request_bytes: bytes, code: str) -> None:
    with front.connect(fresh_address()) as wire:
        wire.send(request_bytes)
        answer = wire.answer()
    assert answer.code == code
    assert answer.json["requestId"] == answer.one("x-request-id")
    assert answer.one("content-type") == "application/json; charset=utf-8"


def test_the_gateways_own_answers_come_through_envoy(modes: Modes, front: Proxy) -> None:
    body = f'{{"email": "{make_user(modes.gateway)}", "password": "{PASSWORD}"}}'.encode()
    login = ask(front, "POST", "/v1/auth/login", None, "Content-Type: application/json", body=body)
    token = login.json["token"]
    modes.gateway.never_log(token)
    source, spoofed = fresh_address(), ("X-Request-Id: mine", "X-Forwarded-For: 203.0.113.9")
    with front.connect(source) as wire:
        answer = wire.ask("GET", "/api-keys", None, [f"Authorization: Bearer {token}", *spoofed])
    assert answer.json["data"] == []
    assert answer.one("x-request-id") != "mine"
    assert modes.gateway.event(answer.one("x-request-id"))["client_ip"] == source
    assert ask(front, "GET", "/api-keys").code == "401 unauthorized"
    test, fields = b'{"event": "budget.created", "data": {}}', ("Content-Type: application/json",)
    answer = ask(front, "POST", "/api/public/webhooks/test", modes.gateway.everything, *fields, body=test)
    assert (answer.status, answer.one("x-ratelimit-limit")) == (200, "10")


def test_a_revoked_key_is_refused_through_envoy(modes: Modes, front: Proxy) -> None:
    owner = Owner(modes.gateway)
    made = owner.create()
    with front.connect(fresh_address()) as wire:
        assert wire.ask("GET", BUDGETS, made["key"]).status == 200
        owner.change(made["id"], {"status": "REVOKED"})
        assert wait_until(lambda: wire.ask("GET", BUDGETS, made["key"]).code == "401 api_key_revoked", 5)


def test_many_requests_on_one_connection_are_each_decided_on(modes: Modes, front: Proxy) -> None:
    keys = modes.gateway.everything, None, modes.gateway.readonly, "bk_live_0123456789abcdef0123456789abcdef"
    with front.connect(fresh_address()) as wire:
        statuses = [wire.ask("DELETE", f"{BUDGETS}/1", key).status for key in keys * 3]
    assert statuses == [200, 401, 403, 401] * 3


def test_an_answer_that_breaks_off_is_seen_to(modes: Modes, front: Proxy) -> None:
    modes.gateway.backend.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True)
    with pytest.raises(CutShort):
        ask(front, "GET", BUDGETS, modes.gateway.everything)
    modes.gateway.backend.forget()


@pytest.mark.timeout(60)
def test_without_the_gateway_nothing_is_admitted(
    tmp_path: Path, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    dsn = run(make_database(postgres_server, "of_a_gateway_that_envoy_loses"))
    with serving(tmp_path, dsn, valkey_server.url) as gateway, envoy(gateway, tmp_path) as proxy:
        key = gateway.readonly
        assert ask(proxy, "GET", BUDGETS, key).status == 200
        assert gateway.end() == 0
        gateway.backend.forget()
        refused = ask(proxy, "GET", BUDGETS, key)
        assert refused.code == "503 service_unavailable"
        assert refused.one("retry-after")
        assert not gateway.backend.requests
