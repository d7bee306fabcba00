"""Envoy with the configuration that is rendered for it: paths, spellings of fields, bodies, what it refuses by itself."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain, raw
from tests.demos import wait_until
from tests.sidecar_cases import BUDGETS
from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.proxies import Modes, Proxy
    from tests.sidecar_outcomes import Port
    from tests.wire import Answer


@pytest.fixture
def envoy(modes: Modes) -> Proxy:
    modes.gateway.backend.forget()
    return modes.proxies["envoy"]


def ask(port: Port, path: str, key: str | None = None, *fields: str) -> Answer:
    with port.connect(fresh_address()) as wire:
        return wire.ask("GET", path, key, fields)


@pytest.mark.parametrize("query", ["?", "??a=?", "?a?b=/../c&%2e%2e=%2F", "?&&=;"])
def test_path_and_query_are_sent_as_they_were_decided_on(modes: Modes, query: str) -> None:
    """Envoy puts the query behind the decided path by itself: it has to be the one that was decided on."""
    for port in (modes.gateway, modes.proxies["envoy"], modes.proxies["envoy-grpc"]):
        modes.gateway.backend.forget()
        assert ask(port, f"/v1{BUDGETS}/1{query}", modes.gateway.everything).status == 200
        assert modes.gateway.backend.last.line == f"GET {BUDGETS}/1{query} HTTP/1.1"


@pytest.mark.parametrize("mode", ["envoy", "envoy-grpc"])
def test_bytes_that_a_decision_cannot_see_are_never_sent(modes: Modes, mode: str) -> None:
    """Envoy writes them anew for gRPC, so what it decided on would not be what it sends."""
    modes.gateway.backend.forget()
    for target in (b"?a=\xff", b"?a=\xc3\xa9", b"/\xff", b"?a=\x7f"):
        with modes.proxies[mode].connect(fresh_address()) as wire:
            head = b"GET %b%b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n"
            wire.send(head % (BUDGETS.encode(), target, modes.gateway.everything.encode()))
            assert wire.answer().code == "400 bad_request", target
    assert not modes.gateway.backend.requests


def test_http_2_fares_the_same(modes: Modes, envoy: Proxy) -> None:
    key = f"Authorization: Bearer {modes.gateway.readonly}"
    asked = ["curl", "-sS", "--http2-prior-knowledge", "-m", "10", "-w", "%{http_version} %{http_code}", "--path-as-is"]
    for path, told in ((f"{BUDGETS}/1?a=%2F", b'{"ok":true}2 200'), (f"{BUDGETS}/../customers", b"2 400")):
        command = [*asked, "-H", key, f"http://127.0.0.1:{envoy.port}{path}"]
        assert subprocess.run(command, check=True, capture_output=True, timeout=20).stdout.endswith(told)
    assert [one.target for one in modes.gateway.backend.requests] == [f"{BUDGETS}/1?a=%2F"]


def test_nothing_that_says_who_somebody_is_reaches_the_backend_in_any_spelling(modes: Modes, envoy: Proxy) -> None:
    names = ("X-Gateway-Anything", "x_gateway_key_id", "X.Consumer.Id", "X-Credential-New", "X-Forwarded-User")
    inner = ("X_User_Id", "X-Gateway-Route", "X-Gateway-Path", "X-Original-Content-Length", "X-Envoy-Original-Path")
    spoofed = [f"{name}: /spoofed" for name in (*names, *inner)]
    assert ask(envoy, BUDGETS, modes.gateway.readonly, *spoofed).status == 200
    received = modes.gateway.backend.last
    assert b"spoofed" not in received.head
    assert not [name for name, _ in received.fields if name.lower().startswith("x-envoy")]


def test_a_client_cannot_name_its_route(modes: Modes, envoy: Proxy) -> None:
    named = ("X-Gateway-Route: budgets.read", "X-Gateway-Path: /", "X-Gateway-Upstream: budgets")
    assert ask(envoy, BUDGETS, None, *named).code == "401 unauthorized"
    assert ask(envoy, "/nowhere", modes.gateway.everything, *named).code == "404 not_found"
    assert not modes.gateway.backend.requests


def test_a_body_without_a_length_is_refused_when_it_is_too_large(modes: Modes, envoy: Proxy) -> None:
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
    head = f"POST {BUDGETS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {modes.gateway.everything}\r\n"
    for chunks, code in ((10, "200"), (11, "413 payload_too_large")):
        modes.gateway.backend.forget()
        with envoy.connect(fresh_address()) as wire:
            wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * chunks + b"0\r\n\r\n")
            answer = wire.answer("POST")
        assert answer.code == code
        assert [one.size for one in modes.gateway.backend.requests] == ([1_000_000] if code == "200" else [])
    assert answer.json["details"] == {"limitBytes": 1_000_000}


@pytest.mark.parametrize("mode", ["envoy", "envoy-grpc"])
def test_envoy_tells_how_requests_ended_that_were_admitted(modes: Modes, mode: str) -> None:
    gateway = modes.gateway
    malformed = 'gateway_outcome_reports_total{result="malformed"}'
    before = gateway.metric(malformed)
    told = {}
    for answer in (plain(b"12345", "201 Created"), raw(b"", close=True)):
        gateway.backend.answer = answer
        with modes.proxies[mode].connect(fresh_address()) as wire:
            ended = wire.ask("POST", BUDGETS, gateway.everything, body=b"hello world")
            assert wire.ask("POST", BUDGETS, None, body=b"hello world").status == 401
        assert not ended.all("x-gateway-event-id")
        told[ended.status] = ended.one("x-request-id")
    gateway.backend.forget()
    assert wait_until(lambda: all(gateway.event(one)["status"] == status for status, one in told.items()), 10)
    event = gateway.event(told[201])
    assert (event["bytes_in"], event["bytes_out"], event["outcome"], event["mode"]) == (11, 5, "admitted", "sidecar")
    assert event["duration_us"] >= event["upstream_us"] > 0
    assert gateway.event(told[502])["outcome"] == "admitted"
    assert gateway.metric(malformed) == before


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400 bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "400 bad_request"),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /../../../metrics HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request"),
        (b"GET /_gateway/authz HTTP/1.1\r\nHost: a\r\n\r\n", "404 not_found"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 50_000 + b"\r\n\r\n", "431 header_fields_too_large"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "505 version_not_supported"),
    ],
)
def test_what_envoy_refuses_itself_has_our_form(envoy: Proxy, request_bytes: bytes, code: str) -> None:
    with envoy.connect(fresh_address()) as wire:
        wire.send(request_bytes)
        answer = wire.answer()
    assert answer.code == code
    assert answer.json["requestId"] == answer.one("x-request-id")
    assert answer.one("content-type") == "application/json; charset=utf-8"
