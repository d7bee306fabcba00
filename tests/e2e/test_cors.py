"""CORS: browsers learn from the gateway which pages may ask, and can read every answer that they get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.backends import plain
from tests.demos import wait_until
from tests.gateway_settings import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateway
    from tests.wire import Answer

PATH = "/api/public/pages/1"
ANY_PATH = "/api/public/open-pages/1"
BACKENDS = (
    b"Access-Control-Allow-Origin: https://evil.example\r\nAccess-Control-Allow-Credentials: true\r\nVary: Accept\r\n"
)


def cors(answer: Answer) -> dict[str, str]:
    """The fields of CORS in *answer*, each of which is there once."""
    return {
        name.lower().removeprefix("access-control-"): answer.one(name)
        for name, _ in answer.fields
        if name.lower().startswith("access-control-")
    }


def preflight(gateway: Gateway, path: str = PATH, method: str = "POST", origin: str = ORIGIN) -> Answer:
    fields = [f"Origin: {origin}", f"Access-Control-Request-Method: {method}"]
    return gateway.ask("OPTIONS", path, None, [*fields, "Access-Control-Request-Headers: authorization,x-evil"])


def test_a_preflight_needs_no_key_and_no_backend(gateway: Gateway) -> None:
    answer = preflight(gateway)
    assert (answer.status, answer.body, answer.all("vary")) == (204, b"", ["Origin"])
    allowed = cors(answer)
    assert allowed.pop("expose-headers")
    assert allowed == {
        "allow-origin": ORIGIN,
        "allow-credentials": "true",
        "allow-methods": "GET, HEAD, POST",
        "allow-headers": "Authorization, Content-Type, Idempotency-Key",
        "max-age": "600",
    }
    assert not gateway.backend.requests
    assert 'outcome="preflight",route="pages",status_class="2xx"' in gateway.metrics()


def test_a_preflight_is_an_event_of_nobody(gateway: Gateway) -> None:
    request_id = preflight(gateway).one("x-request-id")
    query = "SELECT key_id, route, status, outcome FROM usage_events WHERE request_id = $1"
    expected = [{"key_id": None, "route": "pages", "status": 204, "outcome": "preflight"}]
    assert wait_until(lambda: gateway.fetch(query, request_id) == expected, 5)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example", ORIGIN.upper()])
def test_another_origin_is_allowed_nothing(gateway: Gateway, origin: str) -> None:
    gateway.backend.answer = plain(fields=BACKENDS)
    for answer in (
        preflight(gateway, origin=origin),
        gateway.ask("GET", PATH, gateway.readonly, [f"Origin: {origin}"]),
    ):
        assert cors(answer) == {}
        assert answer.all("vary")[-1] == "Origin"


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", PATH), ("POST", "/api/public/budgets"), ("get", PATH), ("GET", "/nowhere")]
)
def test_a_preflight_for_what_no_route_with_cors_takes_is_answered_as_ever(
    gateway: Gateway, method: str, path: str
) -> None:
    answer = preflight(gateway, path, method)
    assert answer.status == (404 if path == "/nowhere" else 405)
    assert cors(answer) == {}


def test_options_without_a_question_is_no_preflight(gateway: Gateway) -> None:
    assert gateway.ask("OPTIONS", PATH, None, [f"Origin: {ORIGIN}"]).status == 405
    assert gateway.ask("OPTIONS", PATH, None, ["Access-Control-Request-Method: GET"]).status == 405


def test_an_answer_can_be_read_and_the_backends_own_word_is_replaced(gateway: Gateway) -> None:
    gateway.backend.answer = plain(fields=BACKENDS)
    answer = gateway.ask("GET", PATH, gateway.readonly, [f"Origin: {ORIGIN}"])
    assert cors(answer) == {
        "allow-origin": ORIGIN,
        "allow-credentials": "true",
        "expose-headers": "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-RateLimit-Window, "
        "X-Request-Id, Retry-After",
    }
    assert answer.all("vary") == ["Accept", "Origin"]
    assert gateway.backend.last.one("origin") == ORIGIN


def test_without_settings_the_backends_own_word_passes(gateway: Gateway) -> None:
    gateway.backend.answer = plain(fields=BACKENDS)
    answer = gateway.ask("GET", "/api/public/budgets", gateway.readonly, [f"Origin: {ORIGIN}"])
    assert cors(answer) == {"allow-origin": "https://evil.example", "allow-credentials": "true"}
    assert answer.all("vary") == ["Accept"]


def test_any_origin_is_allowed_by_no_name(gateway: Gateway) -> None:
    answer = gateway.ask("GET", ANY_PATH, gateway.readonly, ["Origin: https://anyone.example"])
    assert (cors(answer), answer.all("vary")) == ({"allow-origin": "*"}, [])
    assert cors(preflight(gateway, ANY_PATH))["max-age"] == "5"


def test_refusals_can_be_read_too(gateway: Gateway) -> None:
    once = gateway.make_key(rate_limit_per_hour=1)
    fields = [f"Origin: {ORIGIN}"]
    assert gateway.ask("GET", PATH, once, fields).status == 200
    refused = [
        gateway.ask("GET", PATH, None, fields),
        gateway.ask("GET", PATH, gateway.key_for("READ_PRODUCTS"), fields),
        gateway.ask("GET", PATH, once, fields),
    ]
    assert [answer.status for answer in refused] == [401, 403, 429]
    for answer in refused:
        assert cors(answer)["allow-origin"] == ORIGIN
        assert "Retry-After" in cors(answer)["expose-headers"]
    assert refused[-1].one("retry-after")


def test_all_routes_can_have_it_and_what_no_route_takes_too(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, lambda document: document.update(cors={"origins": [ORIGIN]}))
    for path, method in (
        ("/api/public/budgets", "PUT"),
        ("/auth/login", "POST"),
        ("/nowhere", "GET"),
        ("/auth/login", "PUT"),
    ):
        answer = preflight(gateway, path, method)
        assert (answer.status, cors(answer)["allow-origin"]) == (204, ORIGIN)
        assert method in cors(answer)["allow-methods"]
    for path, method, status in (
        *(("/nowhere", "GET", 404), ("/auth/login", "PUT", 405), ("/auth/login", "POST", 415)),
        *(("/a//b", "GET", 400), (f"/{'a' * 9000}", "GET", 414)),
    ):
        answer = gateway.ask(method, path, None, [f"Origin: {ORIGIN}"])
        assert answer.status == status
        assert cors(answer)["allow-origin"] == ORIGIN
    assert cors(preflight(gateway, ANY_PATH))["allow-origin"] == "*"
    assert cors(preflight(gateway, PATH))["allow-credentials"] == "true"
