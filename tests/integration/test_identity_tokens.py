"""Signed identities as they are made: kept for half of their life, signed on without Postgres, of the newest key."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import jwt
import pytest

from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.secrets.encryption import Encryption
from gateway.core.decision import Principal
from gateway.management import identity
from gateway.management.identity import IdentityTokens
from gateway.management.signing_keys import StoredSigningKeys, rotate_signing_keys
from gateway.management.tokens import SessionTokens
from tests.integration.managing import database_at
from tests.limiters import eventually
from tests.servers import execute
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway.adapters.postgres.pool import Database
    from gateway.management.signing_keys import Signer

KEY = os.urandom(32)
SOMEBODY = Principal("api_key_1", "account_1", ("READ", "WRITE"), "bk_live_1234")
LIFETIME_S = 60


class KeysThatGo:
    """Signing keys out of reach while *gone* is true; *refused* counts how often one was asked for then."""

    def __init__(self, keys: StoredSigningKeys) -> None:
        self._keys = keys
        self.gone = False
        self.refused = 0

    async def signer(self) -> Signer:
        if self.gone:
            self.refused += 1
            message = "no answer"
            raise DatabaseDown(message)
        return await self._keys.signer()

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        return await self._keys.public(kid)

    async def published(self) -> Sequence[Mapping[str, str]]:
        return await self._keys.published()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with database_at(postgres_dsn) as database:
        yield database


@pytest.fixture
def keys(database: Database) -> KeysThatGo:
    return KeysThatGo(StoredSigningKeys(database, Encryption(KEY)))


@pytest.fixture
def tokens(keys: KeysThatGo) -> IdentityTokens:
    return IdentityTokens(keys, "gateway", LIFETIME_S)


def kid_of(line: bytes | None) -> str:
    assert line is not None
    kid: str = jwt.get_unverified_header(line.split()[1])["kid"]
    return kid


async def test_one_is_kept_for_half_of_its_life(tokens: IdentityTokens) -> None:
    await tokens.prepare()
    first = tokens.line(SOMEBODY, "budgets", NOW)
    assert tokens.line(SOMEBODY, "budgets", NOW + LIFETIME_S / 2 - 1) is first
    assert tokens.line(SOMEBODY, "budgets", NOW + LIFETIME_S / 2) != first


async def test_each_upstream_and_each_set_of_scopes_gets_its_own(tokens: IdentityTokens) -> None:
    await tokens.prepare()
    changed = Principal(SOMEBODY.key_id, SOMEBODY.account_id, ("READ",), SOMEBODY.prefix)
    asked = [(SOMEBODY, "budgets"), (SOMEBODY, "customers"), (changed, "customers"), (SOMEBODY, "customers")]
    assert len({tokens.line(principal, audience, NOW) for principal, audience in asked}) == 3


async def test_not_more_than_some_are_kept(tokens: IdentityTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "HELD_MAX", 3)
    await tokens.prepare()
    for number in range(10):
        assert tokens.line(Principal(f"key_{number}", "account_1", (), "bk_live_1234"), "budgets", NOW)
    assert len(tokens._held) <= 3


async def test_without_a_key_there_is_none_and_with_one_it_goes_on_without_postgres(
    tokens: IdentityTokens, keys: KeysThatGo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "RETRY_S", 0.01)
    monkeypatch.setattr(identity, "LOOK_S", 0.01)
    keys.gone = True
    assert not tokens.missing
    running = asyncio.create_task(tokens.run())
    try:
        assert tokens.line(SOMEBODY, "budgets", NOW) is None
        assert tokens.missing
        keys.gone = False
        await eventually(lambda: tokens.line(SOMEBODY, "budgets", NOW) is not None)
        assert not tokens.missing
        keys.gone = True
        refused = keys.refused
        await eventually(lambda: keys.refused > refused)
        assert tokens.line(SOMEBODY, "budgets", NOW + 1000) is not None
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_after_a_rotation_the_new_key_signs(
    tokens: IdentityTokens, database: Database, postgres_dsn: str, keys: KeysThatGo
) -> None:
    await tokens.prepare()
    old = tokens.line(SOMEBODY, "budgets", NOW)
    async with database.connection() as connection:
        kid = await rotate_signing_keys(connection, Encryption(KEY), 600)
    await execute(postgres_dsn, "UPDATE signing_keys SET created_at = created_at - interval '10 seconds'")
    keys._keys._read_at = float("-inf")
    await tokens.prepare()
    assert kid_of(tokens.line(SOMEBODY, "budgets", NOW + LIFETIME_S)) == kid != kid_of(old)
    assert {jwk["kid"] for jwk in await keys.published()} >= {kid, kid_of(old)}


async def test_an_identity_is_no_login_even_where_everything_else_fits(keys: KeysThatGo) -> None:
    logins = SessionTokens(keys, "gateway", "gateway", LIFETIME_S)
    signer = await keys.signer()
    claims = {"iss": "gateway", "aud": "gateway", "sub": "user_1", "account": "account_1", "role": "admin"}
    times = {"generation": 0, "iat": int(NOW), "nbf": int(NOW), "exp": int(NOW) + 60}
    for kind, believed in (("JWT", True), (identity.TYPE, False), ("jwt+other", False), (None, False)):
        token = jwt.encode(claims | times, signer.private_key, "EdDSA", {"kid": signer.kid, "typ": kind})
        assert (await logins.verify(token, NOW) is not None) is believed
