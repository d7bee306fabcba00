"""Decisions for other proxies: what is believed of whom, in which form, and that nothing odd is ever an admission."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.wire import Wire, fresh_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways import Gateway
    from tests.wire import Answer

ENDPOINT = "/_gateway/authz"
BUDGETS = "/api/public/budgets"
PROXY, STRANGER = "127.99.0.1", "127.98.0.1"
CLIENT = "X-Forwarded-For: 203.0.113.7"
_way: list[str] = []
"""A field that chooses the tier: a question that ends its connection is for the complete one."""


@pytest.fixture(params=["fast", "complete"], autouse=True)
def _each_tier(request: pytest.FixtureRequest) -> Iterator[None]:
    _way[:] = ["Connection: close"] if request.param == "complete" else []
    yield
    _way.clear()


def ask(
    gateway: Gateway, path: str, key: str | None = None, fields: tuple[str, ...] = (), source: str = PROXY, **more: Any
) -> Answer:
    """Ask for a decision as the proxy at *source*, PROXY being a trusted one."""
    with Wire(gateway.admin_port, source) as wire:
        return wire.ask(more.get("method", "GET"), ENDPOINT + path, key, [CLIENT, *_way, *fields])


def nginx(method: str, target: str) -> tuple[str, ...]:
    return (f"X-Original-Method: {method}", f"X-Original-URI: {target}")


def forwarded(method: str, target: str) -> tuple[str, ...]:
    return (f"X-Forwarded-Method: {method}", f"X-Forwarded-Uri: {target}")


def in_every_dialect(gateway: Gateway, method: str, target: str, key: str | None, *fields: str) -> dict[str, Answer]:
    """The answers in each form to the same request."""
    return {
        "nginx": ask(gateway, "/nginx", key, (*nginx(method, target), *fields)),
        "forward": ask(gateway, "/forward", key, (*forwarded(method, target), *fields)),
        "envoy": ask(gateway, "/envoy" + target, key, fields, method=method),
        "bare": ask(gateway, "", key, (*nginx(method, target), *fields)),
    }


def test_an_admission_says_who_asks_and_where_to_in_every_dialect(optional_gateway: Gateway) -> None:
    answers = in_every_dialect(optional_gateway, "GET", f"/v1{BUDGETS}?a=%2Fb", optional_gateway.readonly)
    for answer in answers.values():
        assert answer.status == 200
        assert answer.one("x-gateway-key-id").startswith("api_key_")
        assert answer.one("x-gateway-account-id")
        assert answer.one("x-gateway-scopes") == "READ_BUDGETS"
        assert answer.one("x-gateway-identity").count(".") == 2
        assert (answer.one("x-gateway-upstream"), answer.one("x-gateway-target")) == ("budgets", f"{BUDGETS}?a=%2Fb")
        assert int(answer.one("x-ratelimit-remaining")) > 0
        assert answer.one("ratelimit").startswith('"hourly";r=')
        assert answer.one("x-request-id").startswith("req_")
        assert not answer.all("x-gateway-status")


def test_on_a_public_route_the_identity_is_there_and_empty(optional_gateway: Gateway) -> None:
    for answer in in_every_dialect(optional_gateway, "GET", f"{BUDGETS}/public/1", None).values():
        assert answer.status == 200
        for name in ("key-id", "account-id", "scopes", "identity"):
            assert answer.one(f"x-gateway-{name}") == ""


REFUSED = [
    ("GET", "/nowhere", 404, "not_found"),
    ("PATCH", BUDGETS, 405, "method_not_allowed"),
    ("GET", f"/api/public/%2e%2e/{BUDGETS}", 400, "bad_request"),
    ("GET", f"/{BUDGETS}", 400, "bad_request"),
    ("POST", BUDGETS, 403, "insufficient_scope"),
    ("GET", "/api-keys", 404, "not_found"),
    ("POST", "/api/public/webhooks/test", 404, "not_found"),
]


@pytest.mark.parametrize(("method", "target", "status", "code"), REFUSED)
def test_a_refusal_is_that_of_a_proxied_request(
    optional_gateway: Gateway, method: str, target: str, status: int, code: str
) -> None:
    for dialect, answer in in_every_dialect(optional_gateway, method, target, optional_gateway.readonly).items():
        assert answer.json["error"] == code
        assert answer.json["requestId"] == answer.one("x-request-id")
        if dialect in {"nginx", "bare"}:
            assert (answer.status, answer.one("x-gateway-status")) == (403, str(status))
            assert json.loads(answer.one("x-gateway-error-body")) == answer.json
        else:
            assert answer.status == status
            assert not answer.all("x-gateway-status") + answer.all("x-gateway-error-body")
        assert not answer.all("x-gateway-key-id")


def test_a_401_stays_one_and_has_its_challenge(optional_gateway: Gateway) -> None:
    for dialect, answer in in_every_dialect(optional_gateway, "GET", BUDGETS, None).items():
        assert answer.code == "401 unauthorized"
        assert answer.one("www-authenticate").startswith("Bearer")
        assert answer.all("x-gateway-status") == (["401"] if dialect in {"nginx", "bare"} else [])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/nginx", ()),
        ("/nginx", forwarded("GET", BUDGETS)),
        ("/nginx", (f"X-Original-URI: {BUDGETS}",)),
        ("/nginx", ("X-Original-Method: GET",)),
        ("/nginx", (*nginx("GET", BUDGETS), f"X-Original-URI: {BUDGETS}/1")),
        ("/nginx", (*nginx("GET", BUDGETS), "X-Original-Method: GET")),
        ("/nginx", nginx("GET", "")),
        ("/nginx", nginx("get", BUDGETS)),
        ("/nginx", nginx("GET", f"{BUDGETS} HTTP/1.1")),
        ("/forward", forwarded("GET", "api/public/budgets")),
        ("/forward", forwarded("GET, GET", BUDGETS)),
        ("/nginx", nginx("", BUDGETS)),
        (f"/nginx?X-Original-Method=GET&X-Original-URI={BUDGETS}", ()),
        ("/forward", nginx("GET", BUDGETS)),
        ("/forward", (f"X-Forwarded-Uri: {BUDGETS}",)),
        ("/envoy", ()),
        ("/envoy/", ()),
        ("/envoyed" + BUDGETS, ()),
        ("", ()),
        ("/", ()),
        ("", (*nginx("GET", BUDGETS), *forwarded("GET", f"{BUDGETS}/1"))),
        ("", (*nginx("GET", BUDGETS), *forwarded("POST", BUDGETS))),
        ("", (*nginx("GET", BUDGETS), f"X-Forwarded-Uri: {BUDGETS}")),
        ("/other", nginx("GET", BUDGETS)),
        ("/nginx/../nginx", nginx("GET", BUDGETS)),
    ],
)
def test_an_original_request_that_is_not_clearly_told_is_never_admitted(
    optional_gateway: Gateway, path: str, fields: tuple[str, ...]
) -> None:
    answer = ask(optional_gateway, path, optional_gateway.everything, fields)
    assert answer.status in {400, 403, 404}
    assert answer.json["error"] in {"bad_request", "not_found"}


def test_a_decision_in_absolute_form_is_none(optional_gateway: Gateway) -> None:
    with Wire(optional_gateway.admin_port, PROXY) as wire:
        target = f"http://a{ENDPOINT}/envoy{BUDGETS}"
        assert wire.ask("GET", target, optional_gateway.everything).status in {400, 403, 404}


def test_another_dialects_fields_change_nothing(optional_gateway: Gateway) -> None:
    smuggled = forwarded("GET", f"{BUDGETS}/public/1")
    assert ask(optional_gateway, "/nginx", None, (*nginx("GET", BUDGETS), *smuggled)).status == 401
    smuggled = nginx("GET", f"{BUDGETS}/public/1")
    assert ask(optional_gateway, "/forward", None, (*forwarded("GET", BUDGETS), *smuggled)).status == 401
    assert ask(optional_gateway, f"/envoy{BUDGETS}", None, smuggled).status == 401


def test_an_address_is_believed_of_trusted_proxies_only(optional_gateway: Gateway) -> None:
    key = optional_gateway.make_key("READ_BUDGETS", allowed_ips=["203.0.113.7", STRANGER, PROXY])
    fields = forwarded("GET", BUDGETS)
    assert ask(optional_gateway, "/forward", key, fields).status == 200
    refused = ask(optional_gateway, "/forward", key, fields, source=STRANGER)
    assert refused.code == "403 ip_not_allowed"
    assert '"setting": "trusted_proxies"' in optional_gateway.output


@pytest.mark.parametrize("field", ["X-Forwarded-For:", "X-Forwarded-For: unknown", "X-Other: a"])
def test_a_trusted_proxy_that_does_not_tell_the_address_admits_no_listed_key(
    optional_gateway: Gateway, field: str
) -> None:
    key = optional_gateway.make_key("READ_BUDGETS", allowed_ips=["127.0.0.0/8", "192.0.0.8"])
    with Wire(optional_gateway.admin_port, PROXY) as wire:
        fields = [field, *forwarded("GET", BUDGETS)]
        assert wire.ask("GET", f"{ENDPOINT}/forward", key, fields).code == "403 ip_not_allowed"


def test_a_sidecar_caller_may_name_the_request(optional_gateway: Gateway) -> None:
    answer = ask(optional_gateway, f"/envoy{BUDGETS}", optional_gateway.readonly, ("X-Request-Id: mine-1",))
    assert answer.one("x-request-id") == "mine-1"
    answer = ask(optional_gateway, f"/envoy{BUDGETS}", optional_gateway.readonly, ("X-Request-Id: not mine",))
    assert answer.one("x-request-id").startswith("req_")


@pytest.mark.parametrize("name", ["X-Gateway-Anything", "x-consumer-new", "X-Forwarded-Anything"])
def test_what_nginx_cannot_remove_is_refused_there(gateway: Gateway, name: str) -> None:
    answer = ask(gateway, "/nginx", gateway.readonly, (*nginx("GET", BUDGETS), f"{name}: spoofed"))
    assert (answer.status, answer.one("x-gateway-status"), answer.json["error"]) == (403, "400", "bad_request")
    assert ask(gateway, "/forward", gateway.readonly, (*forwarded("GET", BUDGETS), f"{name}: spoofed")).status == 200
    spelt_out = ("X-Gateway-Key-Id: a", "X-Consumer-Id: a", "X-Forwarded-Port: 1")
    assert ask(gateway, "/nginx", gateway.readonly, (*nginx("GET", BUDGETS), *spelt_out)).status == 200


def test_a_body_that_is_declared_too_large_is_refused(gateway: Gateway) -> None:
    fields = nginx("POST", BUDGETS)
    for length, status in (("1000000", "200"), ("1000001", "413"), ("x", "413"), ("9" * 30, "413"), ("", "200")):
        answer = ask(gateway, "/nginx", gateway.everything, (*fields, f"X-Original-Content-Length: {length}"))
        assert (answer.all("x-gateway-status") or ["200"]) == [status]


def test_decisions_are_limited_with_the_proxied_requests(optional_gateway: Gateway) -> None:
    key = optional_gateway.make_key("READ_PRODUCTS", rate_limit_per_hour=2)
    path = "/api/public/products"
    assert optional_gateway.ask("GET", path, key).one("x-ratelimit-remaining") == "1"
    assert ask(optional_gateway, f"/envoy{path}", key).one("x-ratelimit-remaining") == "0"
    limited = ask(optional_gateway, f"/envoy{path}", key)
    assert limited.code == "429 rate_limit_exceeded"
    assert limited.one("retry-after")
    assert optional_gateway.ask("GET", path, key).code == "429 rate_limit_exceeded"
    told = ask(optional_gateway, "/nginx", key, nginx("GET", path))
    assert (told.status, told.one("x-gateway-status")) == (403, "429")
    assert told.one("retry-after")


def test_a_key_may_come_in_x_api_key_to_the_sidecar_too(optional_gateway: Gateway) -> None:
    field = f"X-API-Key: {optional_gateway.readonly}"
    assert ask(optional_gateway, f"/envoy{BUDGETS}", None, (field,)).status == 200
    both = ask(optional_gateway, f"/envoy{BUDGETS}", optional_gateway.readonly, (field,))
    assert both.code == "400 bad_request"


def test_the_socket_decides_as_the_listener_does_and_its_word_is_taken(optional_gateway: Gateway) -> None:
    key = optional_gateway.make_key("READ_BUDGETS", allowed_ips=["203.0.113.7"])
    with Wire.on_socket(optional_gateway.state / "decisions.sock") as wire:
        fields = [CLIENT, *nginx("GET", BUDGETS)]
        assert wire.ask("GET", f"{ENDPOINT}/nginx", key, fields).status == 200
        fields[0] = f"X-Forwarded-For: {fresh_address()}"
        assert wire.ask("GET", f"{ENDPOINT}/nginx", key, fields).json["error"] == "ip_not_allowed"


def test_the_event_says_sidecar_and_of_an_admission_no_status(optional_gateway: Gateway) -> None:
    admitted = ask(optional_gateway, f"/envoy/v1{BUDGETS}/7?q=1", optional_gateway.readonly)
    refused = ask(optional_gateway, f"/envoy{BUDGETS}/7", optional_gateway.readonly, method="DELETE")

    def stored(answer: Answer) -> dict[str, Any]:
        return optional_gateway.event(answer.one("x-request-id"))

    event = stored(admitted)
    assert (event["mode"], event["status"], event["outcome"]) == ("sidecar", None, "admitted")
    assert (event["method"], event["path"], event["client_ip"]) == ("GET", f"{BUDGETS}/7", "203.0.113.7")
    assert (event["route"], event["endpoint"], event["upstream"]) == (
        "budgets.read",
        "/api/public/budgets/{id}",
        "budgets",
    )
    assert event["key_id"] == admitted.one("x-gateway-key-id")
    event = stored(refused)
    assert (event["mode"], event["status"], event["outcome"]) == ("sidecar", 403, "insufficient_scope")
    lines = [line for line in optional_gateway.metrics().splitlines() if line.startswith("gateway_requests_total{")]
    assert any('status_class="unknown"' in line and 'route="budgets.read"' in line for line in lines)
