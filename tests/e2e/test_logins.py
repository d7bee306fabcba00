"""Logins over HTTP: throttled, published, and replaced on gateways that run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.adapters.secrets.encryption import Encryption
from gateway.management.signing_keys import OVERLAP_S, rotate_signing_keys
from tests.demos import wait_until
from tests.gateways import run
from tests.owners import PASSWORD, Owner, make_user
from tests.wire import fresh_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateways import Gateway
    from tests.wire import Answer

JWKS = "/.well-known/jwks.json"
JSON_FIELD = "Content-Type: application/json"
TIMEOUT_S = 10.0


def log_in(gateway: Gateway, email: str, password: str, source: str) -> Answer:
    body = f'{{"email": "{email}", "password": "{password}"}}'.encode()
    return gateway.ask("POST", "/auth/login", None, [JSON_FIELD], body, source)


def published(gateway: Gateway) -> dict[str, dict[str, Any]]:
    keys = requests.get(gateway.url + JWKS, timeout=TIMEOUT_S).json()["keys"]
    return {key["kid"]: key for key in keys}


def test_anybody_can_verify_a_login_token_with_the_published_keys(gateway: Gateway) -> None:
    token = Owner(gateway).token
    for path in (JWKS, f"/v1{JWKS}"):
        answer = requests.get(gateway.url + path, timeout=TIMEOUT_S)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=60"
        assert answer.headers["Content-Type"].startswith("application/json")
        keys = {key["kid"]: key for key in answer.json()["keys"]}
        assert all("d" not in key for key in keys.values())
        key = jwt.PyJWK(keys[jwt.get_unverified_header(token)["kid"]])
        told = jwt.decode(token, key, ["EdDSA"], audience="gateway", issuer="gateway")
        assert told["role"] == "member"


def test_whoever_guesses_gets_429_and_the_owner_does_not(gateway: Gateway) -> None:
    email, guesser = make_user(gateway), fresh_address()
    codes = [log_in(gateway, email, "wrong", guesser).code for _ in range(12)]
    assert codes == ["401 invalid_credentials"] * 10 + ["429 rate_limit_exceeded"] * 2
    refused = log_in(gateway, email, PASSWORD, guesser)
    assert refused.status == 429
    assert b"Retry-After: " in refused.head
    assert refused.json["details"]["limit"] == 10
    assert log_in(gateway, email, PASSWORD, fresh_address()).status == 200


@pytest.mark.timeout(120)
def test_gateways_side_by_side_throttle_together_and_take_up_a_new_signing_key(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    one, other = start_gateway(postgres_dsn, redis_url), start_gateway(postgres_dsn, redis_url)
    email, guesser = make_user(one), fresh_address()
    statuses = [log_in(gateway, email, "wrong", guesser).status for gateway in (one, other) * 6]
    assert statuses == [401] * 10 + [429] * 2

    before = Owner(one)
    old = jwt.get_unverified_header(before.token)["kid"]

    async def rotate() -> str:
        connection = await asyncpg.connect(postgres_dsn, timeout=TIMEOUT_S)
        try:
            made = await rotate_signing_keys(connection, Encryption(b"k" * 32), 3600 + OVERLAP_S)
            # As after a minute: no instance holds a key for so new that it would not sign with it.
            await connection.execute("UPDATE signing_keys SET created_at = created_at - interval '1 minute'")
            return made
        finally:
            await connection.close(timeout=TIMEOUT_S)

    new = run(rotate())
    other.end()
    other.start()
    after = Owner(other)
    assert jwt.get_unverified_header(after.token)["kid"] == new
    # The gateway that ran on believes the new key as soon as it meets it.
    for owner in (before, after):
        for gateway in (one, other):
            headers = {"Authorization": f"Bearer {owner.token}"}

            def accepted(gateway: Gateway = gateway, headers: dict[str, str] = headers) -> bool:
                answer = requests.get(f"{gateway.url}/api-keys", headers=headers, timeout=TIMEOUT_S)
                return answer.status_code == 200

            assert wait_until(accepted, 10)
    assert set(published(other)) == {old, new}


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_key_of_a_file_is_the_same_in_every_worker_and_a_reload_takes_up_the_next(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "signing.pem"
    old, new = pem(Ed25519PrivateKey.generate()), pem(Ed25519PrivateKey.generate())
    path.write_bytes(old)

    def change(document: dict[str, Any]) -> None:
        document["auth"] = {**document.get("auth", {}), "signing_key_file": str(path)}

    gateway = start_gateway(postgres_dsn, redis_url, change)
    owner = Owner(gateway)
    assert list(published(gateway)) == [jwt.get_unverified_header(owner.token)["kid"]]
    assert gateway.fetch("SELECT 1 FROM signing_keys") == []
    assert owner.ask("GET", "/api-keys").status_code == 200

    path.write_bytes(new + old)
    gateway.write("broken: [")
    assert gateway.order("reload").problems
    assert len(published(gateway)) == 1
    gateway.configure(lambda _: None)
    outcome = gateway.order("reload")
    assert (outcome.problems, outcome.waiting) == ([], [])
    kid = jwt.get_unverified_header(Owner(gateway).token)["kid"]
    assert list(published(gateway)) == [kid, jwt.get_unverified_header(owner.token)["kid"]]
    assert owner.ask("GET", "/api-keys").status_code == 200
    path.write_bytes(b"no key")
    assert "auth.signing_key_file" in gateway.order("reload").problems[0]
    path.write_bytes(new)
    assert gateway.order("reload").problems == []
    assert list(published(gateway)) == [kid]
    assert owner.ask("GET", "/api-keys").status_code == 401
