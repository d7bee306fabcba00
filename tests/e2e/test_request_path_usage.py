"""What is left of a request: one usage event in Postgres, numbers for Prometheus, and no word of the client's."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING, Any

from gateway.core.credentials import digest
from tests.backends import raw, silent
from tests.demos import wait_until
from tests.gateway_settings import FIRST_BYTE_S
from tests.wire import fresh_address, request_bytes

if TYPE_CHECKING:
    from tests.gateways import Gateway

BUDGETS = "/api/public/budgets"


def events_of(gateway: Gateway, source: str, count: int) -> list[dict[str, Any]]:
    """The usage events of the client at *source*, in their order, once there are *count*."""

    def events() -> list[dict[str, Any]]:
        return gateway.fetch("SELECT * FROM usage_events WHERE client_ip = $1 ORDER BY id", source)

    assert wait_until(lambda: len(events()) >= count, 5), events()
    return events()


def test_every_request_leaves_one_event(gateway: Gateway) -> None:
    source, key = fresh_address(), gateway.make_key("READ_BUDGETS", rate_limit_per_hour=3)
    unknown = "bk_live_0123456789abcdef0123456789abcdef"
    asked = [
        ("GET", f"{BUDGETS}?secret=query", key, 200, "admitted", "budgets.read", "/api/public/budgets"),
        ("HEAD", f"/v1{BUDGETS}/17", key, 200, "admitted", "budgets.read", "/api/public/budgets/{id}"),
        ("GET", f"{BUDGETS}/17/lines", key, 200, "admitted", "budgets.read", "/api/public/budgets/{id}/**"),
        ("GET", BUDGETS, key, 429, "rate_limit_exceeded", "budgets.read", "/api/public/budgets"),
        ("POST", BUDGETS, key, 403, "insufficient_scope", "budgets.write", "/api/public/budgets"),
        ("GET", BUDGETS, unknown, 401, "invalid_api_key", "budgets.read", "/api/public/budgets"),
        ("GET", BUDGETS, None, 401, "unauthorized", "budgets.read", "/api/public/budgets"),
        ("GET", "/nowhere", key, 404, "not_found", "none", "unknown"),
        ("PATCH", BUDGETS, key, 405, "method_not_allowed", "none", "unknown"),
        ("GET", f"{BUDGETS}/..", key, 400, "bad_request", "none", "unknown"),
        (
            "GET",
            f"{BUDGETS}/token/abc",
            None,
            200,
            "admitted",
            "budgets.token",
            "/api/public/budgets/token/{token}",
        ),
    ]
    ids = []
    for method, path, credential, status, *_ in asked:
        answer = gateway.ask(method, path, credential, source=source)
        assert answer.status == status
        ids.append(answer.one("x-request-id"))
    (known,) = gateway.fetch(
        "SELECT id, account_id FROM api_keys JOIN key_secrets ON key_id = id WHERE digest = $1", digest(key)
    )
    events = events_of(gateway, source, len(asked))
    assert len(events) == len(asked)
    by_request = {event["request_id"]: event for event in events}
    for request_id, (method, path, credential, status, outcome, route, endpoint) in zip(ids, asked, strict=True):
        event = by_request[request_id]
        assert (event["method"], event["status"], event["outcome"]) == (method, status, outcome), path
        assert (event["route"] if route != "none" else None, event["endpoint"]) == (
            route if route != "none" else None,
            endpoint,
        ), path
        found = credential == key and route != "none"
        assert (event["key_id"], event["account_id"]) == ((known["id"], known["account_id"]) if found else (None, None))
        assert "query" not in event["path"]
        assert (event["upstream"], event["target"]) == (
            ("budgets", f"127.0.0.1:{gateway.backend.port}") if outcome == "admitted" else (event["upstream"], None)
        )
        assert event["mode"] == "proxy"
        assert event["duration_us"] > 0
        assert (event["upstream_us"] is not None) == (outcome == "admitted")


def test_bytes_are_those_of_the_bodies(gateway: Gateway) -> None:
    source = fresh_address()
    gateway.ask("POST", BUDGETS, gateway.everything, body=b"a" * 1234, source=source)
    gateway.ask("POST", BUDGETS, gateway.everything, ["Transfer-Encoding: chunked"], source=source, body=None)
    events = events_of(gateway, source, 1)
    assert (events[0]["bytes_in"], events[0]["bytes_out"]) == (1234, len(b'{"ok":true}'))


def test_what_goes_wrong_upstream_leaves_an_event(gateway: Gateway) -> None:
    source = fresh_address()
    gateway.ask("GET", "/api/public/gone", gateway.everything, source=source)
    gateway.backend.answer = raw(b"garbage\r\n\r\n", close=True)
    gateway.ask("GET", BUDGETS, gateway.everything, source=source)
    gateway.backend.answer = silent
    gateway.ask("GET", BUDGETS, gateway.everything, source=source)
    events = events_of(gateway, source, 3)
    assert [(event["status"], event["outcome"]) for event in events] == [
        (502, "upstream_error"),
        (502, "upstream_error"),
        (504, "upstream_timeout"),
    ]
    assert events[2]["duration_us"] >= FIRST_BYTE_S * 900_000


def test_a_client_that_goes_away_leaves_an_event(gateway: Gateway) -> None:
    source = fresh_address()
    gateway.backend.answer = silent
    with gateway.connect(source) as wire:
        wire.send(request_bytes("GET", BUDGETS, gateway.everything))
        assert wait_until(lambda: bool(gateway.backend.requests), 3)
    (event,) = events_of(gateway, source, 1)
    assert (event["status"], event["outcome"]) == (None, "client_gone")


def test_what_is_no_request_leaves_an_event(gateway: Gateway) -> None:
    source = fresh_address()
    with gateway.connect(source) as wire:
        wire.send(b"no request\r\n\r\n")
        wire.answer()
    (event,) = events_of(gateway, source, 1)
    assert (event["status"], event["outcome"], event["path"]) == (400, "bad_request", "")


def test_metrics_are_what_prometheus_expects_and_have_no_word_of_a_client(gateway: Gateway) -> None:
    word = hashlib.sha256(fresh_address().encode()).hexdigest()
    key = gateway.make_key()
    gateway.ask("GET", f"{BUDGETS}/{word}?{word}", key, [f"User-Agent: {word}", f"X-Request-Id: {word}"])
    gateway.ask("GET", f"/{word}", word, [f"X-{word}: {word}"])
    gateway.ask(word.upper()[:12].replace("0", "A"), BUDGETS, key)
    metrics = gateway.metrics()
    assert word not in metrics
    assert key[:12] not in metrics
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, text=True, capture_output=True, timeout=10, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for name in ("gateway_requests_total", "gateway_request_overhead_seconds_bucket", "gateway_denials_total"):
        assert f"\n{name}{{" in metrics


def test_health_is_told_inside_and_not_outside(gateway: Gateway) -> None:
    health = gateway.health
    assert {name: health[name] for name in ("status", "reasons", "code")} == {
        "status": "ready",
        "reasons": {},
        "code": 200,
    }
    assert health["upstreams"]["budgets"]["status"] == "serving"
    for path in ("/readyz", "/livez", "/metrics"):
        assert gateway.ask("GET", path).status == 404
