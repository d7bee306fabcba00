"""A key is nowhere but in the request it came with, and nothing a client writes comes back to life elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.hazards import TIERS

if TYPE_CHECKING:
    from tests.gateways import Gateway

pytestmark = TIERS

PATH = "/api/public/budgets"

MALFORMED = {
    "bare line feeds": "GET {path} HTTP/1.1\nHost: a\nAuthorization: Bearer {key}\n\n",
    "in the method": "{key} {path} HTTP/1.1\r\nHost: a\r\n\r\n",
    "in the target": "GET /{key} x HTTP/1.1\r\nHost: a\r\n\r\n",
    "in the version": "GET {path} {key}\r\nHost: a\r\n\r\n",
    "in a field's name": "GET {path} HTTP/1.1\r\nHost: a\r\n{key} x: a\r\n\r\n",
    "beside a nul": "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\0\r\n\r\n",
    "after a bad field": "GET {path} HTTP/1.1\r\nHost: a\r\nX y: a\r\nAuthorization: Bearer {key}\r\n\r\n",
    "as a length": "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {key}\r\n\r\n",
    "as a coding": "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {key}\r\n\r\n",
    "as a chunk": "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n",
    "as a host": "GET {path} HTTP/1.1\r\nHost: {key} x\r\n\r\n",
    "as the whole": "{key}\r\n\r\n",
    "in a long field": "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}{long}\r\n\r\n",
    "in the path": "GET {path}/../{key} HTTP/1.1\r\nHost: a\r\n\r\n",
    "twice": "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nAuthorization: Bearer {key}\r\n\r\n",
}


@pytest.mark.parametrize("request_text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_not_repeated(gateway: Gateway, request_text: str) -> None:
    # That the log does not have the key either is what the fixture checks after every test.
    key = gateway.everything
    with gateway.connect() as wire:
        wire.send(request_text.format(path=PATH, key=key, long="a" * 20_000).encode())
        answer = wire.answer()
        assert answer.status in (400, 401, 413, 414, 431, 505)
        assert answer.json["requestId"] == answer.one("x-request-id")
        assert answer.one("cache-control") == "no-store"
        assert key[12:] not in (answer.head + answer.body).decode("latin-1")
    assert not gateway.backend.requests


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer {key}", "200"),
        ("bearer {key}", "200"),
        ("BEARER  {key}", "200"),
        ("Bearer {key} ", "200"),
        ("Bearer\t{key}", "401 unauthorized"),
        ("Bearer{key}", "401 unauthorized"),
        ("Basic {key}", "401 unauthorized"),
        ("{key}", "401 unauthorized"),
        ("", "401 unauthorized"),
        ("Bearer", "401 invalid_api_key"),
        ("Bearer ", "401 invalid_api_key"),
        ("Bearer {key}, Bearer {key}", "401 invalid_api_key"),
        ("Bearer {key} {key}", "401 invalid_api_key"),
        ('Bearer "{key}"', "401 invalid_api_key"),
        ("Bearer {key}\xe9", "401 invalid_api_key"),
        ("Bearer {key}=", "401 invalid_api_key"),
        ("Bearer {key}%00", "401 invalid_api_key"),
        ("Bearer \xff\xfe", "401 invalid_api_key"),
        ("Bearer {key}{key}", "401 invalid_api_key"),
    ],
)
def test_a_credential_has_one_form(gateway: Gateway, authorization: str, expected: str) -> None:
    field = f"Authorization: {authorization.format(key=gateway.everything)}"
    assert gateway.ask("GET", PATH, fields=[field]).code == expected


@pytest.mark.parametrize("path", [PATH, "/api/public/budgets/token/abc", "/nowhere"])
def test_two_credentials_are_refused_and_the_connection_ended(gateway: Gateway, path: str) -> None:
    with gateway.connect() as wire:
        fields = [f"Authorization: Bearer {gateway.readonly}"]
        assert wire.ask("GET", path, gateway.everything, fields).code == "400 bad_request"
        assert wire.ended()
    assert not gateway.backend.requests


def test_a_key_elsewhere_than_in_authorization_is_none(gateway: Gateway) -> None:
    key = gateway.make_key()
    for path, fields in (
        (f"{PATH}?api_key={key}", []),
        (f"{PATH}?access_token={key}", []),
        (PATH, [f"X-API-Key: {key}"]),
        (PATH, [f"Cookie: key={key}"]),
    ):
        assert gateway.ask("GET", path, fields=fields).code == "401 unauthorized"
    assert not gateway.backend.requests


def test_control_characters_do_not_reach_the_log_as_such(gateway: Gateway) -> None:
    logged = len(gateway.output)
    escapes = "\x1b[31mred"
    gateway.ask("GET", "/api/public/gone", gateway.readonly, [f"User-Agent: {escapes}", f"X-Request-Id: {escapes}"])
    gateway.ask("GET", f"/api/public/{escapes}", gateway.readonly)
    gateway.ask("GET", "/api/public/%1b%0a%0dforged", gateway.readonly)
    said = gateway.output[logged:]
    assert "\x1b" not in said
    for line in said.splitlines():
        assert json.loads(line)["event"] == "upstream failed"


def test_a_client_cannot_make_metrics(gateway: Gateway) -> None:
    before = {line.rpartition(" ")[0] for line in gateway.metrics().splitlines()}
    for number in range(60):
        gateway.ask("GET", f"/unknown-{number}", gateway.everything)
        gateway.ask("GET", f"{PATH}/known-{number}", gateway.everything)
        gateway.ask(f"METHOD{chr(65 + number % 26)}", PATH, gateway.everything)
    after = {line.rpartition(" ")[0] for line in gateway.metrics().splitlines()}
    assert len(after - before) < 60
    assert not [line for line in after if "known-" in line or "METHOD" in line]


@pytest.mark.parametrize("path", ["//evil.example/", "/api-keys/", "/v1", "/<script>alert(1)</script>", "/%0d%0aX:y"])
def test_nothing_is_redirected_or_reflected(gateway: Gateway, path: str) -> None:
    answer = gateway.ask("GET", path, fields=["Origin: https://evil.example"])
    assert answer.status in (400, 404, 405)
    assert answer.one("content-type").startswith("application/json")
    for name in ("location", "access-control-allow-origin", "server", "x-powered-by"):
        assert not answer.all(name)
    assert b"evil" not in answer.body
    assert b"script" not in answer.body
