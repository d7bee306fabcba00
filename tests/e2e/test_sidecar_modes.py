"""One table of requests, through the gateway and through nginx that asks it: the same answer, request and usage event."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.proxies import Modes, Proxy
    from tests.wire import Answer

BUDGETS, PRODUCTS, SHARED = "/api/public/budgets", "/api/public/products", "/api/public/budgets/public/1"
UNKNOWN = "bk_live_0123456789abcdef0123456789abcdef"
TOLD = ("www-authenticate", "allow", "cache-control", "content-type", "x-ratelimit-limit", "x-ratelimit-remaining")
TOLD_TOO = ("x-ratelimit-window", "ratelimit-policy", "x-other")
ABOUT_NOW = ("x-ratelimit-reset", "retry-after")
DIFFERENT = ("id", "at", "day", "request_id", "duration_us", "upstream_us", "target", "mode", "bytes_in", "bytes_out")
"""What no two events have in common, and what only who carries the request knows."""


class Asked(NamedTuple):
    """A request; its key is a new one with these *scopes* and this *limit*, or none, or the one that is given."""

    method: str
    path: str
    scopes: tuple[str, ...] | None = ("READ_BUDGETS", "WRITE_BUDGETS")
    fields: tuple[str, ...] = ()
    body: bytes | None = None
    key: str | None = None
    limit: int = 1000
    times: int = 1
    options: tuple[tuple[str, Any], ...] = ()


TABLE = {
    "allowed": Asked("GET", f"{BUDGETS}?page=2&a=%2F..%2f&b"),
    "with prefix": Asked("GET", f"/v1{BUDGETS}/17"),
    "escapes": Asked("GET", f"{BUDGETS}/%C3%A9%20b~%7e"),
    "tilde and friends": Asked("GET", f"{BUDGETS}/a~!$&'()*+,=:@b"),
    "absolute form": Asked("GET", f"http://else.example{BUDGETS}/1?x"),
    "absolute form, same host": Asked("GET", f"http://API.example.com{BUDGETS}/1?x"),
    "HEAD": Asked("HEAD", BUDGETS),
    "POST": Asked("POST", BUDGETS, fields=("Content-Type: application/json",), body=b'{"a": 1}'),
    "PUT": Asked("PUT", f"{BUDGETS}/1", body=b"x" * 100_000),
    "DELETE": Asked("DELETE", f"{BUDGETS}/1"),
    "fields pass": Asked("GET", BUDGETS, fields=("X-Mine: a", "X-Mine: b", "Cookie: c=d", "Accept: */*", "Range: bytes=0-")),
    "public": Asked("GET", SHARED, scopes=None),
    "public, foreign credential": Asked("GET", SHARED, scopes=None, fields=("Authorization: Bearer a.b.c",)),
    "public, our key": Asked("GET", SHARED, scopes=None, key=UNKNOWN),
    "X-API-Key": Asked("GET", BUDGETS, None, fields=("X-API-Key: {key}", "Authorization: Bearer a.b.c")),
    "no key": Asked("GET", BUDGETS, scopes=None),
    "another scheme": Asked("GET", BUDGETS, scopes=None, fields=("Authorization: Basic YTpi",)),
    "unknown key": Asked("GET", BUDGETS, scopes=None, key=UNKNOWN),
    "two keys": Asked("GET", BUDGETS, fields=(f"X-API-Key: {UNKNOWN}",)),
    "expired": Asked("GET", BUDGETS, options=(("expires_at", datetime(2026, 1, 1, tzinfo=UTC)),)),
    "from elsewhere": Asked("GET", BUDGETS, options=(("allowed_ips", ["203.0.113.9"]),)),
    "from here": Asked("GET", BUDGETS, options=(("allowed_ips", ["127.1.0.0/16"]),)),
    "spoofed address": Asked(
        "GET", BUDGETS, fields=("X-Forwarded-For: 203.0.113.9",), options=(("allowed_ips", ["203.0.113.9"]),)
    ),
    "no scope": Asked("POST", BUDGETS, ("READ_BUDGETS",), body=b"{}"),
    "no scope for HEAD": Asked("HEAD", "/api/public/customers", ("READ_BUDGETS",)),
    "unknown path": Asked("GET", "/nowhere"),
    "unknown method": Asked("PATCH", BUDGETS),
    "limited": Asked("GET", BUDGETS, limit=2, times=3),
    "limited by the route": Asked("GET", PRODUCTS, ("READ_PRODUCTS",), times=4),
    "dot segments": Asked("GET", f"{BUDGETS}/../customers"),
    "escaped dots": Asked("GET", f"{BUDGETS}/%2e%2e/customers"),
    "escaped slash": Asked("GET", f"{BUDGETS}%2f1"),
    "empty segment": Asked("GET", f"/{BUDGETS}"),
    "semicolon": Asked("GET", f"{BUDGETS};a"),
    "no escape": Asked("GET", f"{BUDGETS}?a=|"),
    "overlong": Asked("GET", f"{BUDGETS}/%c0%ae"),
    "identity": Asked(
        *("GET", BUDGETS),
        fields=("X-Gateway-Key-Id: a", "X-Gateway-Identity: a", "x-gateway-scopes: ALL", "X-User-Id: 1", "X-Real-IP: 1.1.1.1"),
    ),
    "identity where there is none": Asked("GET", SHARED, None, ("X-Gateway-Key-Id: a", "X-Gateway-Identity: a")),
    "other dialects": Asked("GET", BUDGETS, None, (f"X-Forwarded-Uri: {SHARED}", "X-Forwarded-Method: GET")),
    "the original": Asked("POST", BUDGETS, ("READ_BUDGETS",), ("X-Original-Method: GET", f"X-Original-URI: {BUDGETS}")),
    "method override": Asked("GET", BUDGETS, fields=("X-HTTP-Method-Override: DELETE", "X-Rewrite-URL: /a")),
    "too large": Asked("POST", BUDGETS, body=b"x" * 1_000_001),
}  # fmt: skip


class Outcome(NamedTuple):
    answer: dict[str, Any]
    backend: dict[str, Any] | None
    event: dict[str, Any]


def outcome(gateway: Gateway, port: Gateway | Proxy, asked: Asked) -> Outcome:
    """Ask through *port*, and give what came of it, as far as two modes can have it in common."""
    key, source = asked.key, fresh_address()
    if asked.scopes is not None or any("{key}" in field for field in asked.fields):
        key = gateway.make_key(
            *(asked.scopes or ("READ_BUDGETS",)), rate_limit_per_hour=asked.limit, **dict(asked.options)
        )
    fields = [field.replace("{key}", key or "") for field in asked.fields]
    gateway.backend.forget()
    for _ in range(asked.times):
        with port.connect(source) as wire:
            own = None if any("{key}" in field for field in asked.fields) else key
            answer = wire.ask(asked.method, asked.path, own, fields, asked.body)
    event = {name: value for name, value in gateway.event(answer.one("x-request-id")).items() if name not in DIFFERENT}
    if event["outcome"] == "admitted":
        event["status"] = None
    ours = {event.pop("key_id"): "KEY", event.pop("account_id"): "ACCOUNT", (key or "-")[:12]: "PREFIX"}
    ours |= {event.pop("client_ip"): "CLIENT"}
    assert source in ours
    return Outcome(_told(answer, ours), _received(gateway, ours), event)


def _plain(text: str, ours: dict[str | None, str]) -> str:
    for value, name in ours.items():
        text = text.replace(value, name) if value else text
    return text


def _told(answer: Answer, ours: dict[str | None, str]) -> dict[str, Any]:
    told: dict[str, Any] = {name: answer.all(name) for name in (*TOLD, *TOLD_TOO)} | {"status": answer.status}
    told |= {name: len(answer.all(name)) for name in (*ABOUT_NOW, "x-request-id", "ratelimit")}
    told["length"] = [] if answer.status >= 400 else answer.all("content-length")
    body = answer.body.decode()
    if body.startswith('{"error"'):
        document = answer.json
        assert document.pop("requestId") == answer.one("x-request-id")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("timestamp"))
        document.get("details", {}).pop("resetAt", None)
        body = re.sub(r"in \d+ seconds", "in N seconds", repr(document))
    return told | {"body": _plain(body, ours)}


def _received(gateway: Gateway, ours: dict[str | None, str]) -> dict[str, Any] | None:
    if not gateway.backend.requests:
        return None
    received = gateway.backend.last
    fields: dict[str, list[str]] = {}
    for name, value in received.fields:
        if value:  # nginx sends no field without a value.
            fields.setdefault(name.lower(), []).append(_plain(value, ours))
    for name in ("x-request-id", "traceparent", "connection"):
        fields.pop(name, None)
    if "x-gateway-identity" in fields:
        fields["x-gateway-identity"] = [str(token.count(".")) for token in fields["x-gateway-identity"]]
    return {"line": received.line, "fields": fields, "size": received.size, "digest": received.digest}


@pytest.mark.parametrize("name", TABLE)
def test_a_request_fares_the_same_through_nginx(modes: Modes, name: str) -> None:
    proxied = outcome(modes.gateway, modes.gateway, TABLE[name])
    decided = outcome(modes.gateway, modes.nginx, TABLE[name])
    assert decided.answer == proxied.answer
    assert decided.backend == proxied.backend
    assert decided.event == proxied.event
