"""X-API-Key, where it is on: a second place for the key, which is one key all the same and goes no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateways import Gateway

PATH = "/api/public/customers"
SHARED = "/api/public/budgets/public/1"
FOREIGN = "Authorization: Bearer of.somebody.else"
TIERS = pytest.mark.parametrize("body", [None, b""], ids=["fast tier", "complete tier"])


@TIERS
@pytest.mark.parametrize("name", ["X-API-Key", "x-api-key", "X-Api-Key"])
def test_a_key_may_come_in_x_api_key_and_is_removed_there(
    optional_gateway: Gateway, name: str, body: bytes | None
) -> None:
    gateway, key = optional_gateway, optional_gateway.everything
    answer = gateway.ask("GET", PATH, fields=[f"{name}: {key}", "X_API_Key: a"], body=body)
    assert answer.status == 200
    assert answer.all("x-ratelimit-limit")
    received = gateway.backend.last
    assert key.encode() not in received.head
    assert not received.all("x-api-key") + received.all("x_api_key")
    assert received.one("x-gateway-key-id").startswith("api_key_")


@TIERS
def test_with_the_key_there_a_foreign_authorization_goes_to_the_backend(
    optional_gateway: Gateway, body: bytes | None
) -> None:
    fields = [f"X-API-Key: {optional_gateway.everything}", FOREIGN]
    assert optional_gateway.ask("GET", PATH, fields=fields, body=body).status == 200
    assert optional_gateway.backend.last.one("authorization") == "Bearer of.somebody.else"


@pytest.mark.parametrize("second", ["{key}", "{other}", "bk_live_mistyped", "of somebody bk_test_"])
@pytest.mark.parametrize("authorization", ["Bearer {key}", "bearer  {key}", "Bearer bk_live_mistyped", "{key}"])
def test_a_key_in_both_places_is_refused(optional_gateway: Gateway, authorization: str, second: str) -> None:
    gateway = optional_gateway
    key, other = gateway.everything, gateway.readonly
    fields = [f"Authorization: {authorization.format(key=key)}", f"X-API-Key: {second.format(key=key, other=other)}"]
    answer = gateway.ask("GET", PATH, fields=fields)
    assert answer.code == "400 bad_request"
    assert "in one of them" in answer.json["message"]
    assert not gateway.backend.requests


def test_two_x_api_key_fields_are_refused(optional_gateway: Gateway) -> None:
    key = optional_gateway.everything
    for fields in ([f"X-API-Key: {key}", f"x-api-key: {key}"], [f"X-API-Key: {key}", "X-API-Key:"]):
        with optional_gateway.connect() as wire:
            assert wire.ask("GET", PATH, fields=fields).code == "400 bad_request"
            assert wire.ended()
    assert not optional_gateway.backend.requests


@pytest.mark.parametrize("value", ["bk_live_mistyped", "of somebody", "{key}, {key}", "Bearer {key}", "{key}\x80"])
def test_what_is_no_key_in_x_api_key_is_refused_as_in_authorization(optional_gateway: Gateway, value: str) -> None:
    field = f"X-API-Key: {value.format(key=optional_gateway.everything)}"
    assert optional_gateway.ask("GET", PATH, fields=[field]).code == "401 invalid_api_key"
    assert not optional_gateway.backend.requests


def test_an_empty_x_api_key_is_none(optional_gateway: Gateway) -> None:
    assert optional_gateway.ask("GET", PATH, fields=["X-API-Key:  "]).code == "401 unauthorized"
    assert optional_gateway.ask("GET", PATH, optional_gateway.everything, ["X-API-Key:"]).status == 200


def test_a_foreign_x_api_key_beside_our_authorization_is_removed(optional_gateway: Gateway) -> None:
    assert optional_gateway.ask("GET", PATH, optional_gateway.everything, ["X-API-Key: foreign"]).status == 200
    received = optional_gateway.backend.last
    assert not received.all("x-api-key") + received.all("authorization")


@TIERS
def test_a_401_says_both_places(optional_gateway: Gateway, body: bytes | None) -> None:
    answer = optional_gateway.ask("GET", PATH, body=body)
    assert answer.code == "401 unauthorized"
    assert answer.json["message"] == "Missing Authorization or X-API-Key header"
    assert answer.json["details"] == {"expected": "Authorization: Bearer bk_live_... or X-API-Key: bk_live_..."}
    assert answer.one("www-authenticate") == 'Bearer realm="api", ApiKey realm="api", header="X-API-Key"'


@pytest.mark.parametrize("name", ["api_key", "X-API-Key", "x-api-key", "key", "access_token"])
def test_a_key_in_the_query_is_none(optional_gateway: Gateway, name: str) -> None:
    answer = optional_gateway.ask("GET", f"{PATH}?{name}={optional_gateway.everything}")
    assert answer.code == "401 unauthorized"
    assert not optional_gateway.backend.requests


@TIERS
def test_on_public_routes_our_key_goes_nowhere_and_a_foreign_authorization_passes(
    optional_gateway: Gateway, body: bytes | None
) -> None:
    gateway, key = optional_gateway, optional_gateway.everything
    assert gateway.ask("GET", SHARED, fields=[f"X-API-Key: {key}", FOREIGN], body=body).status == 200
    received = gateway.backend.last
    assert received.one("authorization") == "Bearer of.somebody.else"
    assert not received.all("x-gateway-key-id")
    for value in (f"Bearer {key}", key, f"Basic {key}"):
        assert gateway.ask("GET", SHARED, fields=[f"Authorization: {value}"], body=body).status == 200
        assert not gateway.backend.last.all("authorization")
    assert not [received for received in gateway.backend.requests if key.encode() in received.head]


def test_x_api_key_is_no_credential_where_it_is_off(gateway: Gateway) -> None:
    answer = gateway.ask("GET", PATH, fields=[f"X-API-Key: {gateway.everything}"])
    assert answer.code == "401 unauthorized"
    assert answer.json["message"] == "Missing Authorization header"
    assert answer.one("www-authenticate") == 'Bearer realm="api"'


def test_a_login_token_is_no_key(optional_gateway: Gateway) -> None:
    answer = optional_gateway.ask("GET", "/api-keys", fields=["X-API-Key: a.b.c"])
    assert answer.code == "401 unauthorized"


def test_the_description_has_the_second_place_where_it_is_on(optional_gateway: Gateway, gateway: Gateway) -> None:
    document = optional_gateway.ask("GET", "/openapi.json").json
    scheme = document["components"]["securitySchemes"]["apiKeyField"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    operation = document["paths"]["/api/public/webhooks/test"]["post"]
    assert operation["security"] == [{"apiKey": []}, {"apiKeyField": []}]
    assert b"X-API-Key: bk_live_" in optional_gateway.ask("GET", "/docs").body
    assert "apiKeyField" not in gateway.ask("GET", "/openapi.json").json["components"]["securitySchemes"]
