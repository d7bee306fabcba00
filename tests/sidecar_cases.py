"""The shared table of the sidecar: requests that have to fare the same through the gateway and through other proxies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

BUDGETS, PRODUCTS, SHARED = "/api/public/budgets", "/api/public/products", "/api/public/budgets/public/1"
UNKNOWN = "bk_live_0123456789abcdef0123456789abcdef"


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


class Unlike(NamedTuple):
    """*what* differs from the proxy mode, named as outcomes name it or by beginnings of that, and *why* it has to.

    Who refuses without asking has no usage event: `event` differs.
    """

    why: str
    what: tuple[str, ...]


TABLE = {
    "allowed": Asked("GET", f"{BUDGETS}?page=2&a=%2F..%2f&b"),
    "with prefix": Asked("GET", f"/v1{BUDGETS}/17"),
    "with prefix and query": Asked("GET", f"/v1{BUDGETS}?next=/v1/a"),
    "prefix twice": Asked("GET", f"/v1/v1{BUDGETS}"),
    "empty query": Asked("GET", f"{BUDGETS}?"),
    "escapes": Asked("GET", f"{BUDGETS}/%C3%A9%20b~%7e"),
    "tilde and friends": Asked("GET", f"{BUDGETS}/a~!$&'()*+,=:@b"),
    "query's friends": Asked("GET", f"{BUDGETS}?a=1;b=%26&c[]=+&d=~!$'()*,:@/?"),
    "absolute form": Asked("GET", f"http://else.example{BUDGETS}/1?x"),
    "absolute form, same host": Asked("GET", f"http://API.example.com{BUDGETS}/1?x"),
    "HEAD": Asked("HEAD", BUDGETS),
    "POST": Asked("POST", BUDGETS, fields=("Content-Type: application/json",), body=b'{"a": 1}'),
    "empty POST": Asked("POST", BUDGETS, body=b""),
    "PUT": Asked("PUT", f"{BUDGETS}/1", body=b"x" * 100_000),
    "DELETE": Asked("DELETE", f"{BUDGETS}/1"),
    "DELETE with body": Asked("DELETE", f"{BUDGETS}/1", body=b"{}"),
    "fields pass": Asked("GET", BUDGETS, fields=("X-Mine: a", "X-Mine: b", "Cookie: c=d", "Accept: */*", "Range: bytes=0-")),
    "agent and coding": Asked("GET", BUDGETS, fields=("User-Agent: mine/1", "Accept-Encoding: br", "Accept-Language: x")),
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
    "spoofed address, standard": Asked(
        "GET", BUDGETS, fields=("Forwarded: for=203.0.113.9",), options=(("allowed_ips", ["203.0.113.9"]),)
    ),
    "no scope": Asked("POST", BUDGETS, ("READ_BUDGETS",), body=b"{}"),
    "no scope for HEAD": Asked("HEAD", "/api/public/customers", ("READ_BUDGETS",)),
    "no scope for PUT": Asked("PUT", f"{BUDGETS}/1", ("READ_BUDGETS",), body=b"x" * 100_000),
    "unknown path": Asked("GET", "/nowhere"),
    "unknown path with the decision's": Asked("GET", f"/_gateway/authz/forward?{BUDGETS}"),
    "unknown method": Asked("PATCH", BUDGETS),
    "OPTIONS": Asked("OPTIONS", BUDGETS),
    "limited": Asked("GET", BUDGETS, limit=2, times=3),
    "limited by the route": Asked("GET", PRODUCTS, ("READ_PRODUCTS",), times=4),
    "dot segments": Asked("GET", f"{BUDGETS}/../customers"),
    "escaped dots": Asked("GET", f"{BUDGETS}/%2e%2e/customers"),
    "escaped slash": Asked("GET", f"{BUDGETS}%2f1"),
    "escaped twice": Asked("GET", f"{BUDGETS}/%252e%252e/customers"),
    "escaped NUL": Asked("GET", f"{BUDGETS}/%00"),
    "backslash": Asked("GET", f"{BUDGETS}/..%5ccustomers"),
    "escaped letters": Asked("GET", "/api/public/%62udgets"),
    "escaped prefix": Asked("GET", f"/%761{BUDGETS}"),
    "empty segment": Asked("GET", f"/{BUDGETS}"),
    "semicolon": Asked("GET", f"{BUDGETS};a"),
    "no escape": Asked("GET", f"{BUDGETS}?a=|"),
    "overlong": Asked("GET", f"{BUDGETS}/%c0%ae"),
    "identity": Asked(
        *("GET", BUDGETS),
        fields=("X-Gateway-Key-Id: a", "X-Gateway-Identity: a", "x-gateway-scopes: ALL", "X-User-Id: 1", "X-Real-IP: 1.1.1.1"),
    ),
    "identity, folded": Asked("GET", BUDGETS, fields=("X_Gateway_Key_Id: a", "X.User.Id: 1", "X_Forwarded-For: 1.1.1.1")),
    "identity of others": Asked("GET", BUDGETS, fields=("X-Consumer-Username: a", "CF-Connecting-IP: 1", "True-Client-IP: 1")),
    "identity where there is none": Asked("GET", SHARED, None, ("X-Gateway-Key-Id: a", "X-Gateway-Identity: a")),
    "nominated": Asked("GET", BUDGETS, fields=("Connection: X-Gateway-Key-Id, X-Request-Id",)),
    "nominated, a field of its own": Asked("GET", BUDGETS, fields=("Connection: X-Mine", "X-Mine: a")),
    "family": Asked("GET", BUDGETS, fields=("X-Forwarded-Anything: a", "X-Consumer-Anything: a")),
    "other dialects": Asked("GET", BUDGETS, None, (f"X-Forwarded-Uri: {SHARED}", "X-Forwarded-Method: GET")),
    "the original": Asked("POST", BUDGETS, ("READ_BUDGETS",), ("X-Original-Method: GET", f"X-Original-URI: {BUDGETS}")),
    "the decision": Asked(
        "GET", BUDGETS, fields=("X-Gateway-Target: /nowhere", "X-Gateway-Upstream: gone", "X-Gateway-Status: 200")
    ),
    "method override": Asked("GET", BUDGETS, fields=("X-HTTP-Method-Override: DELETE", "X-Rewrite-URL: /a")),
    "a length told": Asked("POST", BUDGETS, fields=("X-Original-Content-Length: 1",), body=b"x" * 1_000_001),
    "too large": Asked("POST", BUDGETS, body=b"x" * 1_000_001),
    "large": Asked("POST", PRODUCTS, ("WRITE_PRODUCTS",), body=b"0123456789abcdef" * 131_072),
    "large, refused": Asked("POST", PRODUCTS, ("READ_PRODUCTS",), body=b"0123456789abcdef" * 131_072),
}  # fmt: skip

_PASSED = Unlike("it is passed on, and nobody is fooled", ("backend.fields.x-mine",))
_GO_HOST = Unlike("Go takes the authority for the host", ("backend.fields.x-forwarded-host",))

_ENVOY_HOST = Unlike("Envoy takes the host of such a target, and drops Host", ("backend.fields.x-forwarded-host",))
_REWRITTEN = Unlike("Traefik writes escapes anew, before it asks and sends", ("event.path",))
_READ = Unlike("Traefik resolves escapes of letters, before it asks and sends", ("answer", "backend", "event"))
_TOO_LARGE = Unlike("Traefik refuses it itself, in its own form", ("answer", "event"))

UNLIKE = {
    ("escaped NUL", "nginx"): Unlike("nginx refuses it before it asks", ("event", "answer.body")),
    ("no scope for HEAD", "envoy"): Unlike(
        "what it answers to HEAD for us by HTTP has no type", ("answer.content-type",)
    ),
    ("absolute form", "envoy"): _ENVOY_HOST,
    ("absolute form, same host", "envoy"): _ENVOY_HOST,
    ("absolute form", "envoy-grpc"): _ENVOY_HOST,
    ("absolute form, same host", "envoy-grpc"): _ENVOY_HOST,
    ("family", "nginx"): Unlike(
        "nginx removes no field by the beginning of its name: 400", ("answer", "backend", "event")
    ),
    ("nominated, a field of its own", "nginx"): _PASSED,
    ("nominated, a field of its own", "caddy"): _PASSED,
    ("nominated, a field of its own", "haproxy"): _PASSED,
    ("absolute form", "caddy"): _GO_HOST,
    ("absolute form, same host", "caddy"): _GO_HOST,
    ("absolute form", "traefik"): _GO_HOST,
    ("absolute form, same host", "traefik"): _GO_HOST,
    ("escapes", "traefik"): Unlike(_REWRITTEN.why, ("backend.line", "event.path")),
    ("query's friends", "traefik"): Unlike("Traefik reads ; in a query as &", ("backend.line",)),
    ("escaped dots", "traefik"): _REWRITTEN,
    ("escaped slash", "traefik"): _REWRITTEN,
    ("backslash", "traefik"): _REWRITTEN,
    ("overlong", "traefik"): _REWRITTEN,
    ("escaped letters", "traefik"): _READ,
    ("escaped prefix", "traefik"): _READ,
    ("X-API-Key", "traefik"): Unlike(
        "it cannot tell ours from others where a key is needed", ("backend.fields.authorization",)
    ),
    ("a length told", "traefik"): _TOO_LARGE,
    ("too large", "traefik"): _TOO_LARGE,
    ("absolute form", "haproxy"): Unlike(
        "HAProxy refuses two hosts itself, in its own form", ("answer", "backend", "event")
    ),
}
"""By case and proxy: what a proxy cannot do otherwise."""

UNLIKE_ALWAYS = {
    "traefik": Unlike(
        "it passes nothing of an admission to the client, and Go asks for gzip",
        ("answer.x-ratelimit-", "answer.ratelimit", "answer.x-request-id", "backend.fields.accept-encoding"),
    ),
}
"""By proxy: what differs in many cases."""
