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
