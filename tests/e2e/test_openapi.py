"""The API's own description, from a running gateway: what is answered is what is described, member by member."""

from __future__ import annotations

import base64
import hashlib
import re
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.demos import wait_until
from tests.descriptions import Description
from tests.owners import PASSWORD, Owner, make_user

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

DOCUMENTS = ["/openapi.json", "/docs"]
TIMEOUT_S = 10.0


def send(gateway: Gateway, method: str, path: str, **more: Any) -> requests.Response:
    """Send a request without any credential but those in *more*."""
    return requests.request(method, gateway.url + path, timeout=TIMEOUT_S, **more)


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


@pytest.mark.parametrize("role", ["member", "admin"])
def test_every_answer_about_keys_has_exactly_the_members_that_are_described(gateway: Gateway, role: str) -> None:
    description, owner = Description.of(gateway), Owner(gateway, role)
    body = description.operation("keys.create")["requestBody"]["content"]["application/json"]["example"]
    made = description.check("keys.create", owner.ask("POST", "/api-keys", body, {"Idempotency-Key": owner.email}))
    gateway.never_log(made["key"])
    again = owner.ask("POST", "/api-keys", body, {"Idempotency-Key": owner.email})
    assert description.check("keys.create", again)["id"] == made["id"]
    path = f"/api-keys/{made['id']}"
    description.check("keys.list", owner.ask("GET", "/api-keys?limit=2&search=E-commerce"))
    description.check("keys.get", owner.ask("GET", path))
    change = description.operation("keys.update")["requestBody"]["content"]["application/json"]["example"]
    assert description.check("keys.update", owner.ask("PUT", path, change))["name"] == change["name"]
    secret = description.check("keys.update", owner.ask("PUT", path, {"webhookSecret": "0123456789abcdef"}))
    assert secret["webhookSecret"].startswith("whsec_")
    rotated = description.check("keys.rotate", owner.ask("POST", f"{path}/rotate", {"graceSeconds": 1}))
    gateway.never_log(rotated["key"])
    description.check("keys.delete", owner.ask("DELETE", path))
    entries = description.check("keys.audit", owner.ask("GET", f"{path}/audit"))["data"]
    assert len(entries) > 3


def test_usage_is_answered_as_described(gateway: Gateway) -> None:
    description, owner = Description.of(gateway), Owner(gateway)
    body = description.operation("keys.create")["requestBody"]["content"]["application/json"]["example"]
    made = owner.ask("POST", "/api-keys", body | {"allowedIps": None}).json()
    gateway.never_log(made["key"])
    for path in ("/api/public/budgets", "/api/public/customers"):
        gateway.ask("GET", path, made["key"])
    path = f"/api-keys/{made['id']}/stats?period=1h&include=statuses,denials"
    assert wait_until(lambda: owner.ask("GET", path).json()["totalRequests"] == 2, 5)
    told = description.check("keys.stats", owner.ask("GET", path))
    assert [reason["reason"] for reason in told["denials"]] == ["insufficient_scope"]
    for group in ("key", "endpoint", "day"):
        assert description.check("usage.get", owner.ask("GET", f"/usage?groupBy={group}"))["data"]
    assert owner.ask("GET", "/usage.csv").headers["Content-Type"] == "text/csv; charset=utf-8"


def test_login_and_its_public_keys_are_answered_as_described(gateway: Gateway) -> None:
    description, email = Description.of(gateway), make_user(gateway)
    login = send(gateway, "POST", "/auth/login", json={"email": email, "password": PASSWORD})
    gateway.never_log(description.check("auth.login", login)["token"])
    assert description.check("auth.jwks", send(gateway, "GET", "/.well-known/jwks.json"))["keys"]


def test_a_test_event_is_answered_as_described(gateway: Gateway) -> None:
    event = {"event": "budget.created", "data": {}}
    answer = send(gateway, "POST", "/api/public/webhooks/test", json=event, headers=bearer(gateway.key_for("WEBHOOKS")))
    assert Description.of(gateway).check("webhooks.test", answer)["data"]["success"] is True
    assert "X-RateLimit-Remaining" in answer.headers


def test_what_came_of_a_test_event_is_answered_as_described(gateway: Gateway) -> None:
    """The settings allow no private addresses, so the event goes nowhere, on the event loop of production."""
    description, owner = Description.of(gateway), Owner(gateway)
    wanted = {"name": "Hooked", "scopes": ["WEBHOOKS"], "webhookUrl": "https://receiver.invalid/secret"}
    made = owner.ask("POST", "/api-keys", wanted).json()
    for secret in (made["key"], made["webhookSecret"], "receiver.invalid"):
        gateway.never_log(secret)
    rotated = owner.ask("POST", f"/api-keys/{made['id']}/webhook-secret/rotate", {"graceSeconds": 60})
    gateway.never_log(description.check("keys.webhook_secret", rotated)["webhookSecret"])
    event = {"event": "budget.created", "data": {}}
    answer = send(gateway, "POST", "/api/public/webhooks/test", json=event, headers=bearer(made["key"]))
    told = description.check("webhooks.test", answer)["data"]
    assert (told["delivered"], told["statusCode"], told["failure"]) == (False, None, "dns")
    assert told["deliveryId"].startswith("delivery_")


REFUSED = [
    ("auth.login", "POST", "/auth/login", {"data": b"{"}, 415),
    ("auth.login", "POST", "/auth/login", {"json": {"email": "nobody@example.com", "password": "wrong"}}, 401),
    ("auth.login", "POST", "/auth/login", {"json": {"email": "nobody@example.com"}}, 422),
    ("keys.list", "GET", "/api-keys", {}, 401),
    ("keys.list", "GET", "/api-keys", {"headers": bearer("bk_live_0123456789abcdef")}, 401),
    ("keys.list", "GET", "/api-keys", {"headers": {"Expect": "a-miracle"}}, 417),
    ("keys.list", "GET", "/api-keys", {"headers": {"X-Long": "x" * 9000}}, 431),
    ("keys.list", "GET", f"/api-keys?search={'x' * 9000}", {}, 414),
    ("keys.create", "POST", "/api-keys", {"data": b"x" * 70_000}, 413),
    ("keys.get", "GET", "/api-keys/a%2Fb", {}, 400),
    ("webhooks.test", "POST", "/api/public/webhooks/test", {}, 401),
    ("webhooks.test", "POST", "/api/public/webhooks/test", {"headers": bearer("nonsense")}, 401),
]


@pytest.mark.parametrize(("name", "method", "path", "more", "status"), REFUSED)
def test_a_refusal_is_as_described(
    gateway: Gateway, name: str, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    answer = send(gateway, method, path, **more)
    assert answer.status_code == status, answer.text
    Description.of(gateway).check(name, answer)


@pytest.mark.parametrize(
    ("method", "path", "value", "name", "status"),
    [
        ("GET", "/api-keys?page=0&limit=x", None, "keys.list", 422),
        ("POST", "/api-keys", {"name": "", "scopes": ["NO_SUCH"], "more": 1}, "keys.create", 422),
        ("GET", "/api-keys/unknown", None, "keys.get", 404),
        ("PUT", "/api-keys/unknown", {}, "keys.update", 404),
        ("DELETE", "/api-keys/unknown", None, "keys.delete", 404),
        ("POST", "/api-keys/unknown/rotate", {}, "keys.rotate", 404),
        ("GET", "/api-keys/unknown/audit", None, "keys.audit", 404),
    ],
)
def test_a_refusal_to_who_is_logged_in_is_as_described(
    gateway: Gateway, method: str, path: str, value: Any, name: str, status: int
) -> None:
    answer = Owner(gateway).ask(method, path, value)
    assert answer.status_code == status, answer.text
    Description.of(gateway).check(name, answer)


def test_conflicts_are_as_described(gateway: Gateway) -> None:
    description, owner = Description.of(gateway), Owner(gateway)
    key_id = owner.create()["id"]
    owner.change(key_id, {"status": "REVOKED"})
    assert description.check("keys.update", owner.ask("PUT", f"/api-keys/{key_id}", {"status": "ACTIVE"}))
    answer = owner.ask("POST", f"/api-keys/{key_id}/rotate", {})
    assert answer.status_code == 409
    description.check("keys.rotate", answer)


@pytest.mark.parametrize(
    ("options", "status"),
    [({"allowed_ips": ("203.0.113.9",)}, 403), ({"rate_limit_per_hour": 1}, 429)],
)
def test_a_refused_key_is_answered_as_described(gateway: Gateway, options: dict[str, Any], status: int) -> None:
    description, key = Description.of(gateway), gateway.make_key("WEBHOOKS", **options)
    event = {"event": "budget.created", "data": {}}
    answers = [send(gateway, "POST", "/api/public/webhooks/test", json=event, headers=bearer(key)) for _ in range(2)]
    assert answers[-1].status_code == status
    for answer in answers:
        description.check("webhooks.test", answer)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_that_has_not_changed_is_not_sent_again(gateway: Gateway, path: str) -> None:
    first = send(gateway, "GET", path)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "no-cache")
    tag = first.headers["ETag"]
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = send(gateway, "GET", path, headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert "Content-Length" not in again.headers
    assert send(gateway, "GET", path, headers={"If-None-Match": '"other"'}).content == first.content


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_is_the_same_with_the_prefix_and_for_head(gateway: Gateway, path: str) -> None:
    first = send(gateway, "GET", path)
    assert send(gateway, "GET", f"/v1{path}").content == first.content
    head = send(gateway, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(first.content))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_another_method_on_a_document_is_refused_in_json(gateway: Gateway, path: str) -> None:
    answer = send(gateway, "POST", path, json={})
    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_the_page_loads_nothing_and_runs_nothing(gateway: Gateway) -> None:
    answer = send(gateway, "GET", "/docs")
    page, policy = answer.text, answer.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "<script" not in page
    assert "style=" not in page
    assert not re.search(r"<(img|link|iframe|object|embed|form)\b|url\(|@import", page)
    links = re.findall(r'href="([^"]+)"', page)
    assert [link for link in links if not link.startswith("#")] == ["openapi.json"]
    assert not any(urlsplit(link).netloc for link in links)


def test_the_page_has_a_place_and_a_command_for_every_operation(gateway: Gateway) -> None:
    page = send(gateway, "GET", "/docs").text
    anchors = re.findall(r'id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert {link[1:] for link in re.findall(r'href="(#[^"]+)"', page)} <= set(anchors)
    operations = dict(Description.of(gateway).operations())
    assert {operation["operationId"] for operation in operations.values()} <= set(anchors)
    assert page.count("<code>curl ") == len(operations)


def test_documents_that_are_switched_off_are_not_there(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    def hidden(document: dict[str, Any]) -> None:
        document["management"] = {"docs": False}

    gateway = start_gateway(postgres_dsn, redis_url, hidden)
    for path in DOCUMENTS:
        assert send(gateway, "GET", path).json()["error"] == "not_found"


def test_documents_need_no_store_and_what_needs_one_says_503_as_described(
    start_gateway: Callable[..., Gateway], own_postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    gateway = start_gateway(own_postgres.dsn, valkey.url)
    before, owner, key = Description.of(gateway), Owner(gateway), gateway.make_key("WEBHOOKS")
    own_postgres.send_to_all(signal.SIGKILL)
    valkey.child.kill()
    description = Description.of(gateway)
    assert description.document == before.document
    assert send(gateway, "GET", "/docs").status_code == 200
    event = {"event": "budget.created", "data": {}}
    asked = {
        "auth.login": owner.ask("POST", "/auth/login", {"email": owner.email, "password": PASSWORD}),
        "keys.create": owner.ask("POST", "/api-keys", {"name": "A test's", "scopes": ["READ_BUDGETS"]}),
        "keys.list": owner.ask("GET", "/api-keys"),
        "keys.get": owner.ask("GET", "/api-keys/unknown"),
        "keys.update": owner.ask("PUT", "/api-keys/unknown", {"name": "Another"}),
        "keys.delete": owner.ask("DELETE", "/api-keys/unknown"),
        "keys.rotate": owner.ask("POST", "/api-keys/unknown/rotate"),
        "keys.audit": owner.ask("GET", "/api-keys/unknown/audit"),
        "webhooks.test": send(gateway, "POST", "/api/public/webhooks/test", json=event, headers=bearer(key)),
    }
    assert {name: answer.status_code for name, answer in asked.items()} == dict.fromkeys(asked, 503)
    for name, answer in asked.items():
        description.check(name, answer)
