"""Each proxy with the configuration that is rendered for it: faults, bodies, the gateway's own answers, revocation."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.embedded.listening import free_port
from tests.backends import plain, raw, silent
from tests.demos import wait_until
from tests.gateways import run
from tests.owners import PASSWORD, Owner, make_user
from tests.proxies import LIMITED, PROXIES
from tests.servers import make_database
from tests.serving import serving
from tests.sidecar_cases import BUDGETS, PRODUCTS, Asked
from tests.sidecar_outcomes import differing, outcomes
from tests.wire import CutShort, fresh_address

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.proxies import Modes, Proxy
    from tests.wire import Answer


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
    told = {}
    for name, port in modes.faithful.items():
        modes.gateway.backend.forget()
        modes.gateway.backend.answer = answer
        with port.connect(fresh_address()) as wire:
            refused = wire.ask("GET", path, modes.gateway.everything)
        assert refused.json["requestId"] == refused.one("x-request-id")
        assert refused.one("x-ratelimit-limit") == "1000000"
        told[name] = refused.code, refused.json["message"], refused.json["details"], refused.all("cache-control")
    modes.gateway.backend.forget()
    assert told == dict.fromkeys(told, told["gateway"])


def test_a_backends_own_refusal_passes_untouched(modes: Modes, proxy: Proxy) -> None:
    body = b'{"mine": true}'
    for status in ("401 Unauthorized", "403 Forbidden", "404 Not Found", "413 Content Too Large", "500 Oh", "503 No"):
        modes.gateway.backend.answer = plain(body, status, b"X-Gateway-Status: 200\r\nX-Accel-Redirect: /api-keys\r\n")
        answer = ask(proxy, "GET", BUDGETS, modes.gateway.everything)
        assert (answer.status, answer.body) == (int(status[:3]), body)
        assert not answer.all("x-gateway-status")
        assert answer.one("x-ratelimit-remaining")


def test_a_backend_cannot_set_what_is_ours(modes: Modes, proxy: Proxy) -> None:
    fields = b"X-RateLimit-Limit: 7\r\nX-Request-Id: mine\r\nX-Gateway-Key-Id: mine\r\nServer: mine\r\n"
    modes.gateway.backend.answer = plain(fields=fields)
    answer = ask(proxy, "GET", BUDGETS, modes.gateway.everything)
    assert answer.one("x-ratelimit-limit") == "1000000"
    assert answer.one("x-request-id").startswith("req_")
    assert not answer.all("x-gateway-key-id")
    assert answer.one("server") == "mine"


def test_the_id_of_the_answer_is_the_one_that_the_backend_got(modes: Modes, proxy: Proxy) -> None:
    answer = ask(proxy, "GET", BUDGETS, modes.gateway.everything, "X-Request-Id: mine")
    assert answer.one("x-request-id") == modes.gateway.backend.last.one("x-request-id") != "mine"


def test_a_chunked_body_goes_through_whole(modes: Modes, proxy: Proxy) -> None:
    with proxy.connect(fresh_address()) as wire:
        head = f"POST {BUDGETS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {modes.gateway.everything}\r\n"
        wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert wire.answer("POST").status == 200
    assert modes.gateway.backend.last.body == b"hello"


def test_a_body_that_is_refused_never_reaches_the_backend(modes: Modes, proxy: Proxy) -> None:
    answer = ask(proxy, "POST", BUDGETS, modes.gateway.readonly, body=b"x" * 100_000)
    assert answer.code == "403 insufficient_scope"
    assert not modes.gateway.backend.requests


def test_the_gateways_own_answers_come_through(modes: Modes, proxy: Proxy) -> None:
    body = f'{{"email": "{make_user(modes.gateway)}", "password": "{PASSWORD}"}}'.encode()
    login = ask(proxy, "POST", "/v1/auth/login", None, "Content-Type: application/json", body=body)
    assert login.status == 200
    token = login.json["token"]
    modes.gateway.never_log(token)
    source, spoofed = (
        fresh_address(),
        ("X-Request-Id: mine", "Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.9"),
    )
    with proxy.connect(source) as wire:
        answer = wire.ask("GET", "/api-keys", None, [f"Authorization: Bearer {token}", *spoofed])
    assert answer.json["data"] == []
    assert answer.one("x-request-id") != "mine"
    assert modes.gateway.event(answer.one("x-request-id"))["client_ip"] == source
    assert ask(proxy, "GET", "/api-keys").code == "401 unauthorized"
    test = b'{"event": "budget.created", "data": {}}'
    fields = ("Content-Type: application/json",)
    key = modes.gateway.make_key()
    answer = ask(proxy, "POST", "/api/public/webhooks/test", key, *fields, body=test)
    assert (answer.status, answer.one("x-ratelimit-limit")) == (200, "10")


def test_a_key_that_is_revoked_in_mid_flight_is_good_for_what_is_under_way_alone(modes: Modes) -> None:
    """Through every mode: the head is decided on, the key revoked, and the body comes after that."""
    owner = Owner(modes.gateway)
    made = [owner.create(scopes=["WRITE_PRODUCTS"]) for _ in modes.faithful]
    under_way = threading.Semaphore(0)
    modes.gateway.backend.forget()
    modes.gateway.backend.on_head = lambda _request, _connection: under_way.release()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(port.connect(fresh_address())) for port in modes.faithful.values()]
        for wire, key in zip(wires, made, strict=True):
            head = f"POST {PRODUCTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key['key']}\r\n"
            wire.send(head.encode() + b"Content-Length: 10\r\n\r\nhello")
            assert under_way.acquire(timeout=5)
            owner.change(key["id"], {"status": "REVOKED"})
            wire.send(b"world")
            assert wire.answer("POST").status == 200
            assert modes.gateway.backend.last.body == b"helloworld"
        for wire, key in zip(wires, made, strict=True):
            assert wait_until(lambda: wire.ask("GET", PRODUCTS, key["key"]).code == "401 api_key_revoked", 5)  # noqa: B023  # asked at once
    modes.gateway.backend.forget()


def test_many_requests_on_one_connection_are_each_decided_on(modes: Modes, proxy: Proxy) -> None:
    keys = modes.gateway.everything, None, modes.gateway.readonly, "bk_live_0123456789abcdef0123456789abcdef"
    with proxy.connect(fresh_address()) as wire:
        statuses = [wire.ask("DELETE", f"{BUDGETS}/1", key).status for key in keys * 3]
    assert statuses == [200, 401, 403, 401] * 3


def test_without_the_limiter_every_mode_fares_the_same(modes: Modes) -> None:
    """Redis hangs: limits hold in each worker, from the last known remainder."""

    def limiter_is(up: int) -> bool:
        modes.gateway.ask("GET", BUDGETS, modes.gateway.everything)
        return f"\ngateway_limiter_up {up}" in modes.gateway.metrics()

    modes.valkey.child.send(signal.SIGSTOP)
    try:
        assert wait_until(lambda: limiter_is(0), 5)
        for asked, status in ((Asked("GET", BUDGETS), 200), (Asked("GET", BUDGETS, limit=1, times=2), 429)):
            found = outcomes(modes.gateway, modes.faithful, asked)
            assert {outcome["answer.status"] for outcome in found.values()} == {status}
            for outcome in found.values():
                assert differing(found["gateway"], outcome) == {}
    finally:
        modes.valkey.child.send(signal.SIGCONT)
    assert wait_until(lambda: limiter_is(1), 5)


def test_an_answer_that_breaks_off_is_seen_to(modes: Modes, proxy: Proxy) -> None:
    modes.gateway.backend.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True)
    with pytest.raises(CutShort):
        ask(proxy, "GET", BUDGETS, modes.gateway.everything)


def test_a_large_answer_comes_through_whole(modes: Modes, proxy: Proxy) -> None:
    body = b"0123456789abcdef" * 200_000
    modes.gateway.backend.answer = plain(body)
    answer = ask(proxy, "GET", BUDGETS, modes.gateway.everything)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()


@pytest.mark.timeout(60)
def test_without_the_gateway_nothing_is_admitted(
    tmp_path: Path, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    dsn = run(make_database(postgres_server, "of_a_gateway_that_goes"))
    with contextlib.ExitStack() as stack:
        sidecar = {"grpc": {"port": free_port()}}
        gateway = stack.enter_context(serving(tmp_path, dsn, valkey_server.url, sidecar=sidecar))
        proxies = {}
        for name, start in PROXIES.items():
            (tmp_path / name).mkdir()
            proxies[name] = stack.enter_context(start(gateway, tmp_path / name))
        key = gateway.readonly
        for proxy in proxies.values():
            assert ask(proxy, "GET", BUDGETS, key).status == 200
        assert gateway.end() == 0
        gateway.backend.forget()
        for name, proxy in proxies.items():
            refused = ask(proxy, "GET", BUDGETS, key)
            if name in LIMITED:
                assert refused.status >= 500
                continue
            assert refused.code == "503 service_unavailable"
            assert refused.one("retry-after")
        assert not gateway.backend.requests
