"""Nobody passes for somebody else: what says who a client is, is ours and cannot be set or removed by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hazards import TIERS
from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.gateways import Gateway

pytestmark = TIERS

PATH = "/api/public/budgets"


@pytest.mark.parametrize(
    "name",
    [
        *("X-Gateway-Key-Id", "x-gateway-key-id", "X_Gateway_Key_Id", "X.Gateway.Key.Id", "X-GATEWAY_account.id"),
        *("X-Gateway-Scopes", "X-Gateway-Anything", "X_Gateway-Identity"),
        *("X-Consumer-Id", "X_Consumer_Username", "X-Credential-Identifier", "X-Authenticated-Userid"),
        *("X-Anonymous-Consumer", "X-Api-Key", "X-API-KEY-ID", "x_api_key"),
        *("X-Forwarded-User", "X_Forwarded_User", "X-Forwarded-Email", "X-Forwarded-Port", "X-Forwarded-Prefix"),
        *("Forwarded", "X-Remote-User", "X_Remote_User", "X-Real-User", "X-User-Id", "X-Account-Id"),
        *("X-Real-IP", "X_Real_Ip", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "cf_connecting_ip"),
        *("X-Original-URL", "X_Original_URL", "X-Original-URI", "X-Original-Method", "X-Rewrite-URL"),
        *("X-Request-Id", "X_Request_Id", "traceparent", "X-Forwarded-For", "X_Forwarded_For"),
        *("X-Forwarded-Proto", "X-Forwarded-Host", "x_forwarded_host", "Proxy-Authorization", "TE", "Keep-Alive"),
        *("Proxy-Connection", "Trailer", "Content_Length", "Transfer_Encoding"),
    ],
)
def test_what_would_say_who_somebody_is_never_arrives(gateway: Gateway, name: str) -> None:
    answer = gateway.ask("GET", PATH, gateway.readonly, [f"{name}: spoofed", f"{name}: spoofed again"])
    assert answer.status == 200
    received = gateway.backend.last
    assert b"spoofed" not in received.head
    assert received.one("x-gateway-key-id").startswith("api_key_")
    assert received.one("x-gateway-scopes") == "READ_BUDGETS"
    assert received.one("x-request-id") == answer.one("x-request-id")
    assert not received.all("authorization")


def test_a_client_cannot_have_our_fields_removed(gateway: Gateway) -> None:
    nominated = "Connection: X-Gateway-Key-Id, x_gateway_scopes, X-Request-Id, X-Forwarded-For, Host, X-Mine, close"
    with gateway.connect() as wire:
        assert wire.ask("GET", PATH, gateway.readonly, [nominated, "X-Mine: a", "X_MINE: b", "X-Kept: c"]).status == 200
        assert wire.ended()
    received = gateway.backend.last
    for name in ("x-gateway-key-id", "x-gateway-account-id", "x-gateway-scopes", "x-request-id", "x-forwarded-for"):
        assert len(received.all(name)) == 1
    assert received.one("x-kept") == "c"
    assert not received.all("x-mine") + received.all("x_mine") + received.all("connection")


def test_the_peer_is_the_only_one_that_forwarded(gateway: Gateway) -> None:
    source = fresh_address()
    fields = ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.2", "X-Forwarded-Proto: https"]
    assert gateway.ask("GET", PATH, gateway.readonly, fields, source=source).status == 200
    received = gateway.backend.last
    assert (received.one("x-forwarded-for"), received.one("x-forwarded-proto")) == (source, "http")
    assert received.one("x-forwarded-host") == "api.example.com"


def test_an_allow_list_looks_at_the_peer(gateway: Gateway) -> None:
    source = fresh_address()
    key = gateway.make_key(allowed_ips=[source])
    elsewhere = fresh_address()
    claims = [f"X-Forwarded-For: {source}", f"X-Real-IP: {source}", f"Forwarded: for={source}"]
    answer = gateway.ask("GET", PATH, key, claims, source=elsewhere)
    assert answer.code == "403 ip_not_allowed"
    assert answer.json["details"] == {"clientIp": elsewhere}
    assert source not in answer.body.decode()
    assert gateway.ask("GET", PATH, key, source=source).status == 200


def test_everything_else_arrives_as_it_was_sent(gateway: Gateway) -> None:
    fields = [
        "accept: */*",
        "ACCEPT-language: de",
        "X-Twice: 1",
        "x-twice: 2",
        "Cookie: a=b",
        "User-Agent: \xe9\xff",
        "X-Empty:",
    ]
    assert gateway.ask("GET", PATH, gateway.readonly, fields).status == 200
    sent = [(name, value.strip()) for name, _, value in (line.partition(":") for line in fields)]
    got = [(name, value.strip()) for name, value in gateway.backend.last.fields]
    assert [field for field in got if field in sent] == sent
    ours = {"host", "x-request-id", "traceparent", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
    assert {name.lower() for name, _ in got if (name, _) not in sent} == ours | {
        *("x-gateway-key-id", "x-gateway-account-id", "x-gateway-scopes"),
    }


def test_a_backend_cannot_say_what_is_ours_to_say(gateway: Gateway) -> None:
    forged = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-Request-Id", "X-Gateway-Key-Id", "x_ratelimit_limit"]
    lines = "".join(f"{name}: forged\r\n" for name in forged)
    gateway.backend.answer = lambda _request, connection: connection.send(
        f"HTTP/1.1 200 OK\r\n{lines}Connection: X-Gone\r\nX-Gone: forged\r\nKeep-Alive: forged\r\nContent-Length: 0\r\n\r\n".encode()
    )
    answer = gateway.ask("GET", PATH, gateway.readonly)
    assert answer.status == 200
    assert b"forged" not in answer.head
    assert answer.one("x-ratelimit-limit") == "1000000"


def test_a_foreign_authorization_passes_only_where_no_key_is_needed(gateway: Gateway) -> None:
    public = "/api/public/budgets/token/abc"
    assert gateway.ask("GET", public, fields=["Authorization: Basic YTpi"]).status == 200
    assert gateway.backend.last.one("authorization") == "Basic YTpi"
    assert gateway.ask("GET", PATH, fields=["Authorization: Basic YTpi"]).code == "401 unauthorized"
    assert gateway.ask("GET", public, gateway.everything).status == 200
    received = gateway.backend.last
    assert gateway.everything.encode() not in received.head
    assert not received.all("authorization") + received.all("x-gateway-key-id")
