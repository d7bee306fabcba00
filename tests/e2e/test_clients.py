"""Clients that people have get what a backend serves, refusals that they understand, and keep their connection."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain
from tests.client_libraries import CLIENTS, Asking
from tests.relays import Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends import Connection, Received
    from tests.client_libraries import Answered, Client
    from tests.gateways import Gateway

BUDGETS = "/api/public/budgets"
PRODUCTS = "/api/public/products"
LARGE = random.Random(1).randbytes(3_000_000)
TEXT = b"a text that can be compressed " * 100


def backend(request: Received, connection: Connection) -> None:
    """What the backend of these tests serves."""
    if request.target.endswith("large"):
        half = len(LARGE) // 2
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (LARGE[:half], LARGE[half:]):
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
    elif request.target.endswith("text"):
        plain(gzip.compress(TEXT), fields=b"Content-Encoding: gzip\r\n")(request, connection)
    elif request.method == "POST":
        seen = {"size": request.size, "sha256": request.digest, "type": request.one("content-type")}
        plain(json.dumps(seen).encode(), "201 Created")(request, connection)
    elif request.method == "DELETE":
        connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    else:
        plain()(request, connection)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]()


@pytest.fixture
def send(client: Client, gateway: Gateway) -> Callable[..., list[Answered]]:
    gateway.backend.answer = backend

    def send(*asked: tuple[str, str, str | None, bytes | None]) -> list[Answered]:
        made = []
        for method, path, key, body in asked:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            headers |= {} if body is None else {"Content-Type": "application/json"}
            made.append(Asking(method, f"{gateway.url}{path}", headers, body))
        return client.send(made)

    return send


def test_everything_that_people_do(gateway: Gateway, send: Callable[..., list[Answered]]) -> None:
    key, once = gateway.everything, gateway.make_key(rate_limit_per_hour=1)
    body = json.dumps({"name": "Müller"}).encode()
    got, posted, uploaded, downloaded, text, head, deleted, none, first, throttled = send(
        ("GET", BUDGETS, key, None),
        ("POST", BUDGETS, key, body),
        ("POST", PRODUCTS, key, LARGE),
        ("GET", f"{BUDGETS}/large", key, None),
        ("GET", f"{BUDGETS}/text", key, None),
        ("GET", f"{BUDGETS}/1?a=%20&b=x+y", key, None),
        ("DELETE", f"{BUDGETS}/1", key, None),
        ("GET", BUDGETS, None, None),
        ("GET", BUDGETS, once, None),
        ("GET", BUDGETS, once, None),
    )
    assert (got.status, got.body) == (200, b'{"ok":true}')
    for sent, answer in ((body, posted), (LARGE, uploaded)):
        assert answer.status == 201
        assert json.loads(answer.body) == {
            "size": len(sent),
            "sha256": hashlib.sha256(sent).hexdigest(),
            "type": "application/json",
        }
    assert (downloaded.status, downloaded.body == LARGE) == (200, True)
    assert (text.status, text.body) == (200, TEXT)
    assert head.status == 200
    assert f"{BUDGETS}/1?a=%20&b=x+y" in {request.target for request in gateway.backend.requests}
    assert (deleted.status, deleted.body) == (204, b"")
    assert (none.status, json.loads(none.body)["error"]) == (401, "unauthorized")
    assert none.headers["www-authenticate"].startswith("Bearer")
    assert (first.status, throttled.status, json.loads(throttled.body)["error"]) == (200, 429, "rate_limit_exceeded")
    assert int(throttled.headers["retry-after"]) >= 1


def test_one_connection_is_enough(gateway: Gateway, client: Client, send: Callable[..., list[Answered]]) -> None:
    """It is the same with and without a key, a body, an error: the next request comes on the same connection."""
    key = gateway.everything
    relayed = Relay(gateway.port)
    try:
        url, gateway.url = gateway.url, relayed.url
        answers = send(
            ("GET", BUDGETS, key, None),
            ("POST", BUDGETS, key, b"{}"),
            ("GET", BUDGETS, None, None),
            ("GET", f"{BUDGETS}/text", key, None),
            ("GET", f"{BUDGETS}/large", key, None),
            ("DELETE", f"{BUDGETS}/1", key, None),
            ("GET", BUDGETS, key, None),
        )
    finally:
        gateway.url = url
        relayed.close()
    assert [answer.status for answer in answers] == [200, 201, 401, 200, 200, 204, 200]
    assert relayed.accepted <= client.connections
