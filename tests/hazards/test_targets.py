"""A request target has one reading, on which it is decided and which the backend gets, or it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hazards import TIERS

if TYPE_CHECKING:
    from tests.gateways import Gateway

pytestmark = TIERS


@pytest.mark.parametrize(
    "target",
    [
        "/API/public/budgets",
        "/api/public/budgets.json",
        "/api/public/budgetsx",
        "/api/public/",
        "/v1",
        "/v1/v1/api/public/budgets",
        "/v2/api/public/budgets",
        "/api/public/budgets/../",
        "/metrics",
        "/livez",
        "/readyz",
        "/_gateway/authz",
        "/",
    ],
)
def test_a_path_that_no_route_knows_reaches_nobody(gateway: Gateway, target: str) -> None:
    answer = gateway.ask("GET", target, gateway.everything)
    assert answer.status == (400 if ".." in target else 404)
    assert not gateway.backend.requests


@pytest.mark.parametrize(
    "path",
    [
        "/api/public/budgets",
        "/api/public/budgets/",
        "/api/public/budgets/1/lines/2",
        "/api/public/budgets/caf%C3%A9",
        "/api/public/budgets/caf%c3%a9",
        "/api/public/budgets/%EF%BC%8Fx",
        "/api/public/budgets/a%20b",
        "/api/public/budgets/~!$&'()*+,=:@-._",
        "/api/public/budgets/...",
        "/api/public/budgets/.hidden",
        "/api/public/budgets?",
        "/api/public/budgets?a=%2e%2e%2f&b=//..;\\&c=%00&d={}|^`",
        "/api/public/budgets?a=1&a=2&token=bk",
    ],
)
def test_bytes_of_path_and_query_arrive_as_they_were_sent(gateway: Gateway, path: str) -> None:
    assert gateway.ask("GET", path, gateway.everything).status == 200
    assert gateway.backend.last.target == path
    assert gateway.ask("GET", "/v1" + path, gateway.everything).status == 200
    assert gateway.backend.last.target == path


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/public/budgets/token/abc", 200),
        ("/api/public/budgets/token/abc?x=/../../customers", 200),
        ("/api/public/budgets/token/abc/extra", 401),
        ("/api/public/budgets/token/abc/", 401),
        ("/api/public/budgets/token/", 401),
        ("/api/public/budgets/token", 401),
        ("/api/public/budgets/token/abc.def", 401),
        (f"/api/public/budgets/token/{'a' * 101}", 401),
        ("/api/public/budgets/token/a%62c", 400),
        ("/api/public/budgets/token/..", 400),
        ("/api/public/budgets/token/%2e%2e", 400),
        ("/api/public/budgets/token/../../customers", 400),
        ("/api/public/budgets/token/abc%2f..%2f..%2fcustomers", 400),
        ("/api/public/budgets/token/abc;/../1", 400),
        ("/api/public/budgets/public/1", 200),
        ("/api/public/budgets/public/1/2", 401),
        ("/api/public/customers?x=/api/public/budgets/token/abc", 401),
    ],
)
def test_routes_without_a_key_are_no_way_in(gateway: Gateway, target: str, expected: int) -> None:
    assert gateway.ask("GET", target).status == expected
    assert len(gateway.backend.requests) == (expected == 200)


def test_the_absolute_form_follows_the_same_rules(gateway: Gateway) -> None:
    readonly = gateway.readonly
    assert gateway.ask("GET", "http://evil.example/v1/api/public/budgets/1?x", readonly).status == 200
    assert gateway.backend.last.target == "/api/public/budgets/1?x"
    assert gateway.backend.last.one("host") == f"127.0.0.1:{gateway.backend.port}"
    assert gateway.ask("GET", "http://evil.example/api/public/customers", readonly).status == 403
    assert gateway.ask("GET", "http://evil.example/api/public/budgets/../customers", readonly).status == 400
    assert len(gateway.backend.requests) == 1


FILES = "/api/public/files"


@pytest.mark.parametrize(
    "path",
    [
        *(f"{FILES}/a%2Fb", f"{FILES}/a%2fb%2F", f"{FILES}/a//b", f"{FILES}/a//", f"{FILES}/a/./b", f"{FILES}/a/../b"),
        *(
            f"{FILES}/a/%2e%2e/b",
            f"{FILES}/a\\b",
            f"{FILES}/a%5Cb",
            f"{FILES}/a;v=1/b",
            f"{FILES}/%3b",
            f"{FILES}/100%25",
        ),
        *(
            f"{FILES}/why%3F%23",
            f"{FILES}/a%00b",
            f"{FILES}/%0d%0aX:y",
            f"{FILES}/%ff%c0%ae",
            f"{FILES}/a/%252e%252e/b",
        ),
    ],
)
def test_a_route_may_allow_odd_paths_and_they_arrive_as_they_were_sent(gateway: Gateway, path: str) -> None:
    assert gateway.ask("GET", f"{path}?x=1", gateway.readonly).status == 200
    assert gateway.backend.last.target == f"{path}?x=1"
    assert gateway.ask("GET", f"http://evil.example/v1{path}", gateway.readonly).status == 200
    assert gateway.backend.last.target == path


@pytest.mark.parametrize(
    "path",
    [
        *(f"{FILES}/..", f"{FILES}/../customers", f"{FILES}/a/../../customers", f"{FILES}/%2e%2e/customers"),
        *(f"{FILES}/..%2fcustomers", f"{FILES}/..\\customers", f"{FILES}/..%5ccustomers", f"{FILES}/..;/customers"),
        *(f"{FILES}/..;x=/customers", f"{FILES}/%252e%252e/customers", f"{FILES}/%252e%252e%252fcustomers"),
        *(f"{FILES}//private/x", f"{FILES}/private%2fx", f"{FILES}/%70rivate/x", f"{FILES}/%2570rivate/x"),
        *(f"{FILES}/private;a/x", f"{FILES}/;/private/x", f"{FILES}/a/..%2fprivate", f"{FILES}/.\\private"),
        *(f"{FILES}/../customers/..;/files/x", f"//{FILES}/x", f"/\\{FILES}/x", f"{FILES}/%zz", f"{FILES}/\x01"),
        *(f"{FILES}/caf\xe9", f"{FILES}/a#b", "/api/public/files%2fa", "/api/public;/files/a", "/api//public/files/a"),
    ],
)
def test_an_odd_path_never_leads_out_of_its_route(gateway: Gateway, path: str) -> None:
    with gateway.connect() as wire:
        assert wire.ask("GET", path, gateway.readonly).code == "400 bad_request"
        assert wire.ended()
    assert not gateway.backend.requests


@pytest.mark.parametrize(
    ("target", "host", "wanted"),
    [
        ("/api/public/hosted", "api.example.com", "api.example.com"),
        ("http://api.example.com/api/public/hosted", "api.example.com", "api.example.com"),
        ("http://API.example.com:80/api/public/hosted", "api.example.com:80", "api.example.com:80"),
        ("http://evil.example/api/public/hosted", "api.example.com", ""),
        ("http://api.example.com/api/public/hosted", "evil.example", ""),
    ],
)
def test_a_client_that_names_two_hosts_named_none(gateway: Gateway, target: str, host: str, wanted: str) -> None:
    for path, upstream_host in (("hosted", wanted), ("budgets", "")):
        with gateway.connect() as wire:
            wire.send(
                f"GET {target.replace('hosted', path)} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {gateway.everything}\r\n\r\n".encode()
            )
            assert wire.answer().status == 200
        received = gateway.backend.last
        assert received.one("x-forwarded-host") == wanted
        assert received.one("host") == (upstream_host or f"127.0.0.1:{gateway.backend.port}")
        assert b"evil" not in received.head


def test_the_clients_host_decides_nothing(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        wire.send(
            f"GET /api/public/budgets HTTP/1.1\r\nHost: customers\r\nAuthorization: Bearer {gateway.everything}\r\n\r\n".encode()
        )
        answer = wire.answer()
    assert answer.status == 200
    assert gateway.backend.last.one("host") == f"127.0.0.1:{gateway.backend.port}"
    assert gateway.backend.last.one("x-forwarded-host") == "customers"
    assert b"customers" not in answer.head
