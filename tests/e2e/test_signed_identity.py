"""Signed identity: a backend verifies who asks with our published keys, as its documentation says, and is not fooled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import asyncpg
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.adapters.postgres.migrate import migrate
from gateway.adapters.secrets.encryption import Encryption
from gateway.management.signing_keys import OVERLAP_S, rotate_signing_keys
from tests.demos import wait_until
from tests.gateways import ROOT, run
from tests.owners import Owner
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateway

BUDGETS, CUSTOMERS, SHARED = "/api/public/budgets", "/api/public/customers", "/api/public/budgets/public/1"
TIERS = pytest.mark.parametrize("body", [None, b""], ids=["fast tier", "complete tier"])


def documented(gateway: Gateway) -> Any:
    """The function of deploy/BACKENDS.md, with the address of *gateway* in it."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "deploy" / "BACKENDS.md").read_text(), re.DOTALL)
    assert code is not None
    assert "https://api.example.com" in code[1]
    names: dict[str, Any] = {}
    exec(code[1].replace("https://api.example.com", gateway.url), names)  # our own documentation
    return names["who_asks"]


def identity_at_backend(gateway: Gateway) -> dict[str, str]:
    """The header fields that the backend received last."""
    return {"X-Gateway-Identity": gateway.backend.last.one("x-gateway-identity")}


@TIERS
def test_a_backend_learns_who_asks_as_documented(optional_gateway: Gateway, body: bytes | None) -> None:
    gateway = optional_gateway
    assert gateway.ask("GET", BUDGETS, gateway.readonly, body=body).status == 200
    received = gateway.backend.last
    claims = documented(gateway)(identity_at_backend(gateway))
    assert claims["sub"] == received.one("x-gateway-account-id")
    assert claims["key_id"] == received.one("x-gateway-key-id")
    assert claims["scope"] == received.one("x-gateway-scopes") == "READ_BUDGETS"
    assert (claims["iss"], claims["aud"]) == ("gateway", "budgets")
    assert claims["exp"] - claims["iat"] == 60


def test_one_signature_goes_with_many_requests_of_a_key(optional_gateway: Gateway) -> None:
    gateway = optional_gateway
    keys = gateway.readonly, gateway.readonly, gateway.make_key("READ_BUDGETS")
    for key in keys:
        assert gateway.ask("GET", BUDGETS, key).status == 200
    first, second, other = (received.one("x-gateway-identity") for received in gateway.backend.requests)
    assert first == second
    assert first != other


@TIERS
@pytest.mark.parametrize("path", [BUDGETS, CUSTOMERS, SHARED])
@pytest.mark.parametrize("name", ["X-Gateway-Identity", "x_gateway_identity", "X-GATEWAY.Identity"])
def test_what_a_client_sends_as_its_identity_never_arrives(
    optional_gateway: Gateway, name: str, path: str, body: bytes | None
) -> None:
    fields = [f"{name}: forged", f"{name}: forged again"]
    assert (
        optional_gateway.ask(
            "GET", path, optional_gateway.readonly if path == BUDGETS else optional_gateway.everything, fields, body
        ).status
        == 200
    )
    received = optional_gateway.backend.last
    assert b"forged" not in received.head
    assert len(received.all("x-gateway-identity")) == (1 if path == BUDGETS else 0)


def test_a_changed_key_is_signed_for_anew(optional_gateway: Gateway) -> None:
    gateway, owner = optional_gateway, Owner(optional_gateway)
    made = owner.create()
    assert gateway.ask("GET", BUDGETS, made["key"]).status == 200
    owner.change(made["id"], {"scopes": ["READ_BUDGETS", "READ_CUSTOMERS"]})

    def scope() -> str:
        assert gateway.ask("GET", BUDGETS, made["key"]).status == 200
        claims: dict[str, str] = documented(gateway)(identity_at_backend(gateway))
        return claims["scope"]

    assert wait_until(lambda: scope() == "READ_BUDGETS READ_CUSTOMERS", 5)


def test_an_identity_is_no_login(optional_gateway: Gateway) -> None:
    gateway = optional_gateway
    assert gateway.ask("GET", BUDGETS, gateway.readonly).status == 200
    token = identity_at_backend(gateway)["X-Gateway-Identity"]
    answer = gateway.ask("GET", "/api-keys", fields=[f"Authorization: Bearer {token}"])
    assert answer.status == 401


def test_a_login_is_no_identity(optional_gateway: Gateway) -> None:
    token = Owner(optional_gateway).token
    who_asks = documented(optional_gateway)
    with pytest.raises(jwt.PyJWTError, match="another kind"):
        who_asks({"X-Gateway-Identity": token})


def test_the_documented_function_believes_nothing_else(optional_gateway: Gateway) -> None:
    gateway, who_asks = optional_gateway, documented(optional_gateway)
    assert gateway.ask("GET", BUDGETS, gateway.readonly).status == 200
    good = identity_at_backend(gateway)["X-Gateway-Identity"]
    claims, header = jwt.decode(good, options={"verify_signature": False}), jwt.get_unverified_header(good)
    forger = Ed25519PrivateKey.generate()
    start, payload, signature = good.split(".")
    forged = [
        "",
        "x",
        f"{start}.{payload}.",
        f"{start}.{payload[:-2]}AA.{signature}",
        jwt.encode(claims, forger, "EdDSA", header),
        jwt.encode(claims, forger, "EdDSA", header | {"kid": "unknown"}),
        jwt.encode(claims, "k" * 32, "HS256", {"kid": header["kid"], "typ": header["typ"]}),
        jwt.encode(claims, "", "none", {"kid": header["kid"], "typ": header["typ"]}),
    ]
    for token in forged:
        with pytest.raises(jwt.PyJWTError):
            who_asks({"X-Gateway-Identity": token})
    with pytest.raises(jwt.PyJWTError):
        who_asks({})
    assert who_asks({"X-Gateway-Identity": good}) == claims


def test_a_token_of_a_replaced_key_verifies_until_it_ends(optional_gateway: Gateway) -> None:
    gateway = optional_gateway
    assert gateway.ask("GET", BUDGETS, gateway.readonly).status == 200
    before = identity_at_backend(gateway)
    make_another_key(gateway)
    assert documented(gateway)(before)["aud"] == "budgets"


def make_another_key(gateway: Gateway) -> None:
    """Do what `gateway signing-keys rotate` does."""

    async def rotate() -> None:
        connection = await asyncpg.connect(gateway.dsn, timeout=5, command_timeout=5)
        try:
            await rotate_signing_keys(connection, Encryption(b"k" * 32), 60 + OVERLAP_S)
        finally:
            await connection.close(timeout=5)

    run(rotate())


def test_without_a_key_to_sign_with_nothing_goes_without_identity(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    run(migrate(postgres_dsn))
    run(execute(postgres_dsn, "ALTER TABLE signing_keys RENAME TO out_of_reach"))

    def signed(document: dict[str, Any]) -> None:
        document["upstreams"]["budgets"]["signed_identity"] = True

    gateway = start_gateway(postgres_dsn, redis_url, signed)
    key = gateway.make_key(rate_limit_per_hour=100)
    refused = gateway.ask("GET", BUDGETS, key)
    assert refused.code == "503 service_unavailable"
    assert refused.one("retry-after") == "1"
    assert not gateway.backend.requests
    assert "identity" in gateway.health["reasons"]
    answer = gateway.ask("GET", CUSTOMERS, key)
    assert (answer.status, answer.one("x-ratelimit-remaining")) == (200, "99"), "the refused one took a token"
    run(execute(postgres_dsn, "ALTER TABLE out_of_reach RENAME TO signing_keys"))
    assert wait_until(lambda: gateway.ask("GET", BUDGETS, key).status == 200, 10)
    assert documented(gateway)(identity_at_backend(gateway))["aud"] == "budgets"
    assert "identity" not in gateway.health["reasons"]
