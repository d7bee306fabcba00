"""Login tokens: signed with keys that all instances share, and nothing but ours is believed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import TYPE_CHECKING, Any

import asyncpg
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.secrets.encryption import Encryption
from gateway.management import signing_keys
from gateway.management.signing_keys import StoredSigningKeys
from gateway.management.tokens import Session, SessionTokens
from tests.integration.managing import database_at
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.pool import Database
    from gateway.embedded.postgres import EmbeddedPostgres

KEY = os.urandom(32)
SOMEBODY = Session("user_1", "account_1", "member")
LIFETIME_S = 600


def tokens_on(database: Database, key: bytes = KEY) -> SessionTokens:
    return SessionTokens(StoredSigningKeys(database, Encryption(key)), "gateway", "gateway", LIFETIME_S)


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with database_at(postgres_dsn) as database:
        yield database


@pytest.fixture
def tokens(database: Database) -> SessionTokens:
    return tokens_on(database)


async def test_a_token_gives_back_its_session_until_it_ends(tokens: SessionTokens) -> None:
    token, lifetime_s = await tokens.issue(SOMEBODY, NOW)
    assert lifetime_s == LIFETIME_S
    assert await tokens.verify(token, NOW) == SOMEBODY
    assert await tokens.verify(token, NOW + LIFETIME_S - 1) == SOMEBODY
    assert await tokens.verify(token, NOW + LIFETIME_S) is None


async def test_a_token_from_a_clock_slightly_ahead_is_believed_and_one_from_the_future_is_not(
    tokens: SessionTokens,
) -> None:
    token, _ = await tokens.issue(SOMEBODY, NOW)
    assert await tokens.verify(token, NOW - 4) == SOMEBODY
    assert await tokens.verify(token, NOW - 6) is None


async def test_instances_that_start_together_agree_on_one_key(database: Database, postgres_dsn: str) -> None:
    instances = [tokens_on(database) for _ in range(5)]
    issued = await asyncio.gather(*(instance.issue(SOMEBODY, NOW) for instance in instances))
    assert len({jwt.get_unverified_header(token)["kid"] for token, _ in issued}) == 1
    for instance in instances:
        assert [await instance.verify(token, NOW) for token, _ in issued] == [SOMEBODY] * 5
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM signing_keys") == 1
    await connection.close()


async def test_a_restart_keeps_tokens_valid(database: Database, tokens: SessionTokens) -> None:
    token, _ = await tokens.issue(SOMEBODY, NOW)
    assert await tokens_on(database).verify(token, NOW) == SOMEBODY


async def test_another_secret_key_gets_a_signing_key_of_its_own_and_both_verify(
    database: Database, tokens: SessionTokens
) -> None:
    other = tokens_on(database, os.urandom(32))
    first, _ = await tokens.issue(SOMEBODY, NOW)
    second, _ = await other.issue(SOMEBODY, NOW)
    assert await other.verify(first, NOW) == SOMEBODY
    assert await tokens_on(database).verify(second, NOW) == SOMEBODY


async def test_a_key_made_elsewhere_is_found_within_seconds(
    database: Database, tokens: SessionTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tokens.issue(SOMEBODY, NOW)
    token, _ = await tokens_on(database, os.urandom(32)).issue(SOMEBODY, NOW)
    assert await tokens.verify(token, NOW) is None
    monkeypatch.setattr(signing_keys, "UNKNOWN_S", 0.0)
    assert await tokens.verify(token, NOW) == SOMEBODY


async def test_a_key_that_has_ended_is_not_believed_after_the_next_read(
    tokens: SessionTokens, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = await tokens.issue(SOMEBODY, NOW)
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("UPDATE signing_keys SET not_after = now() - interval '1 second'")
    await connection.close()
    monkeypatch.setattr(signing_keys, "KNOWN_S", 0.0)
    assert await tokens.verify(token, NOW) is None


async def test_the_private_key_is_stored_encrypted(tokens: SessionTokens, postgres_dsn: str) -> None:
    await tokens.issue(SOMEBODY, NOW)
    connection = await asyncpg.connect(postgres_dsn)
    row = await connection.fetchrow("SELECT * FROM signing_keys")
    await connection.close()
    assert row is not None
    assert row["secret_key_id"] == Encryption(KEY).key_id
    assert len(row["private_key"]) == 12 + 32 + 16
    assert set(json.loads(row["public_jwk"])) == {"kty", "crv", "x", "kid", "alg", "use"}


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def test_forged_tokens_are_not_believed(tokens: SessionTokens) -> None:
    token, _ = await tokens.issue(SOMEBODY, NOW)
    header, claims, signature = token.split(".")
    told = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    public = await tokens._keys.public(kid)
    assert public is not None
    stranger = Ed25519PrivateKey.generate()
    forged = [
        f"{encoded({'alg': 'none', 'kid': kid})}.{claims}.",
        f"{encoded({'alg': 'none', 'kid': kid})}.{claims}.{signature}",
        f"{header}.{claims}.",
        f"{header}.{encoded({**told, 'role': 'admin'})}.{signature}",
        f"{encoded({'alg': 'EdDSA', 'typ': 'JWT'})}.{claims}.{signature}",
        jwt.encode(told, public.public_bytes_raw(), "HS256", {"kid": kid}),
        jwt.encode(told, stranger, "EdDSA", {"kid": kid}),
        jwt.encode(told, stranger, "EdDSA", {"kid": "unknown"}),
        jwt.encode(told, stranger, "EdDSA", {"kid": "../../etc/passwd"}),
        f"{encoded({'alg': 'EdDSA', 'kid': ['a']})}.{claims}.{signature}",
        f"{encoded({'alg': 'EdDSA', 'kid': None})}.{claims}.{signature}",
        f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.{claims}.{signature}",
        f"{base64.urlsafe_b64encode(b'[]').decode().rstrip('=')}.{claims}.{signature}",
        f"{header}..{claims}.{signature}",
        "..",
        "",
        "é.é.é",
        token + "\n",
        token + ".x",
    ]
    assert [await tokens.verify(each, NOW) for each in forged] == [None] * len(forged)


async def test_what_is_signed_with_our_key_is_believed_only_with_our_header_and_every_claim(
    tokens: SessionTokens,
) -> None:
    signer = await tokens._keys.signer()
    token, _ = await tokens.issue(SOMEBODY, NOW)
    told = jwt.decode(token, options={"verify_signature": False})

    async def verified(claims: dict[str, Any], **header: Any) -> Session | None:
        made = jwt.encode(claims, signer.private_key, "EdDSA", {"kid": signer.kid, **header})
        return await tokens.verify(made, NOW)

    assert await verified(told) == SOMEBODY
    for name in told:
        assert await verified({key: value for key, value in told.items() if key != name}) is None, name
    for changed in (
        *({"iss": "x"}, {"aud": "x"}, {"role": 1}, {"generation": "0"}),
        *({"exp": str(told["exp"])}, {"exp": 1e12}, {"nbf": None}, {"nbf": int(NOW) + 6}, {"iat": int(NOW) + 6}),
    ):
        assert await verified({**told, **changed}) is None, changed
    assert await verified(told, jku="https://example.com/keys") is None
    assert await verified(told, jwk={"kty": "OKP"}) is None
    assert await verified(told, crit=["exp"]) is None


async def test_a_flood_of_unknown_keys_reads_the_database_once(tokens: SessionTokens, postgres_dsn: str) -> None:
    token, _ = await tokens.issue(SOMEBODY, NOW)
    stranger = Ed25519PrivateKey.generate()
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("DROP TABLE signing_keys")
    await connection.close()
    for number in range(50):
        forged = jwt.encode({}, stranger, "EdDSA", {"kid": str(number)})
        assert await tokens.verify(forged, NOW) is None
    assert await tokens.verify(token, NOW) == SOMEBODY


@pytest.mark.timeout(30)
async def test_known_keys_serve_on_while_postgres_is_away(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database_at(own_postgres.dsn) as database:
        tokens = tokens_on(database)
        token, _ = await tokens.issue(SOMEBODY, NOW)
        await own_postgres.stop()
        monkeypatch.setattr(signing_keys, "KNOWN_S", 0.0)
        monkeypatch.setattr(signing_keys, "UNKNOWN_S", 0.0)
        assert await tokens.verify(token, NOW) == SOMEBODY
        with pytest.raises(DatabaseDown):
            await tokens.verify(jwt.encode({}, Ed25519PrivateKey.generate(), "EdDSA", {"kid": "new"}), NOW)
