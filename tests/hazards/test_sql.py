"""SQL in the parts of a request that end in a query is text, and none of it runs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.owners import Owner

if TYPE_CHECKING:
    from tests.gateways import Gateway

JSON = "Content-Type: application/json"
SQL = "'%20OR%201%3D1;SELECT%20pg_sleep(3)--"


@pytest.fixture(scope="module")
def made(gateway_server: Gateway) -> tuple[Owner, dict[str, Any]]:
    """An owner with a key."""
    owner = Owner(gateway_server)
    return owner, owner.create()


@pytest.mark.parametrize(
    "path",
    [
        f"/api-keys/{SQL}",
        f"/api-keys/{SQL}/stats",
        f"/api-keys/{{id}}/stats?period={SQL}",
        f"/usage?groupBy={SQL}",
        f"/api-keys?search={SQL}",
        f"/api-keys?status={SQL}",
    ],
)
def test_sql_is_text(gateway: Gateway, made: tuple[Owner, dict[str, Any]], path: str) -> None:
    owner, key = made
    began = time.monotonic()
    answer = gateway.ask("GET", path.replace("{id}", key["id"]), owner.token)
    assert time.monotonic() - began < 2
    found = "data" if answer.status == 200 else "error"
    assert answer.json[found] in ([], "bad_request", "not_found", "validation_error"), answer.json


def test_sql_is_no_login(gateway: Gateway) -> None:
    body = json.dumps({"email": "' OR 1=1; SELECT pg_sleep(3)--@example.com", "password": "' OR ''='"}).encode()
    answer = gateway.ask("POST", "/auth/login", None, [JSON], body)
    assert answer.status in {401, 422}, answer.body
