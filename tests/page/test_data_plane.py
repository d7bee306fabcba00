"""The endpoints of the API Keys page, from each client that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.page import examples
from tests.page.clients import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways import Gateway
    from tests.page.conftest import Client

_EVENT = '{"event":"budget.created","data":{"id":1}}'


def requests_of(scope: str) -> Iterator[tuple[str, str]]:
    """The methods and paths that the page's table gives to *scope*; a * is nothing, and something."""
    methods, path = examples.ENDPOINTS[scope].split(" ")
    for method in methods.split("/"):
        yield method, path.removesuffix("/*")
        if path.endswith("/*"):
            yield method, path.replace("*", "17")


def send(client: Client, base: str, method: str, path: str, key: str) -> tuple[int, dict[str, str], str]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = _EVENT if method in ("POST", "PUT") else None
    answer = client.send(Request(method, base + path, headers, body))
    return answer.status, dict(answer.headers), answer.body


@pytest.mark.parametrize("scope", examples.ENDPOINTS)
def test_a_scope_opens_what_the_page_says(gateway: Gateway, client: Client, base: str, scope: str) -> None:
    key = gateway.make_key(scope, rate_limit_per_hour=100)
    asked = list(requests_of(scope))
    for number, (method, path) in enumerate(asked, start=1):
        status, headers, body = send(client, base, method, path, key)
        assert status == 200, body
        if scope == "WEBHOOKS":
            assert '"success":true' in body
            assert (headers["x-ratelimit-limit"], headers["x-ratelimit-window"]) == ("10", "60")
        else:
            assert body == '{"ok":true}'
            assert (headers["x-ratelimit-limit"], headers["x-ratelimit-window"]) == ("100", "3600")
            assert headers["x-ratelimit-remaining"] == str(100 - number)
    passed = [(request.method, request.target) for request in gateway.backend.requests]
    assert passed == ([] if scope == "WEBHOOKS" else asked)
    assert key.encode() not in gateway.backend.raw


@pytest.mark.parametrize("scope", examples.ENDPOINTS)
def test_without_the_scope_it_is_refused_by_its_name(gateway: Gateway, client: Client, base: str, scope: str) -> None:
    key = gateway.key_for(*(other for other in examples.ENDPOINTS if other != scope))
    for method, path in requests_of(scope):
        status, _, body = send(client, base, method, path, key)
        assert status == 403
        assert '"error":"insufficient_scope"' in body
        assert f"API key does not have required scope: {scope}" in body
    assert not gateway.backend.requests
