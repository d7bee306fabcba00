"""Signing keys: replaced without ending logins, published, or given by file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.adapters.secrets.encryption import Encryption
from gateway.management import signing_keys
from gateway.management.signing_keys import (
    KNOWN_S,
    OVERLAP_S,
    SETTLED_S,
    UNKNOWN_S,
    FileSigningKeys,
    StoredSigningKeys,
    rotate_signing_keys,
)
from gateway.management.tokens import CLOCK_SKEW_S, Session, SessionTokens
from tests.integration.managing import PASSWORD, database_at, managing
from tests.servers import execute
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.adapters.postgres.pool import Database
    from gateway.embedded.postgres import EmbeddedPostgres

KEY = os.urandom(32)
SOMEBODY = Session("user_1", "account_1", "member")
LIFETIME_S = 600
EMAIL = "ada@example.com"


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with database_at(postgres_dsn) as database:
        yield database


class Instance:
    """The keys and tokens of one running instance."""

    def __init__(self, database: Database) -> None:
        self.keys = StoredSigningKeys(database, Encryption(KEY))
        self.tokens = SessionTokens(self.keys, "gateway", "gateway", LIFETIME_S)

    async def issue(self) -> str:
        return (await self.tokens.issue(SOMEBODY, NOW))[0]

    async def believes(self, token: str) -> bool:
        return await self.tokens.verify(token, NOW) == SOMEBODY

    def forget_when_it_read(self) -> None:
        """Let the time pass after which the keys are read again."""
        self.keys._read_at = float("-inf")


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


async def rotate(database: Database, overlap_s: int = LIFETIME_S + OVERLAP_S) -> str:
    async with database.connection() as connection:
        return await rotate_signing_keys(connection, Encryption(KEY), overlap_s)


async def let_it_settle(dsn: str, kid: str, seconds: float = SETTLED_S) -> None:
    await execute(
        dsn, f"UPDATE signing_keys SET created_at = now() - make_interval(secs => {seconds}) WHERE kid = '{kid}'"
    )


def test_the_times_leave_no_gap() -> None:
    # Whoever read the keys a moment before a new one was made knows it before anybody signs with it.
    assert UNKNOWN_S < SETTLED_S
    # Whoever read them a moment before the rotation signs with the old key for KNOWN_S more.
    assert KNOWN_S + SETTLED_S + CLOCK_SKEW_S < OVERLAP_S


async def test_running_instances_take_a_new_key_up_and_believe_the_old_one_on(
    database: Database, postgres_dsn: str
) -> None:
    one, other = Instance(database), Instance(database)
    before = await one.issue()
    assert await other.believes(before)
    new = await rotate(database)
    await let_it_settle(postgres_dsn, new)
    one.forget_when_it_read()
    after = await one.issue()
    assert (kid_of(after), kid_of(before) == new) == (new, False)
    other.forget_when_it_read()
    for instance in (one, other):
        assert await instance.believes(before)
        assert await instance.believes(after)


async def test_nobody_signs_with_a_key_that_others_may_not_know_yet(database: Database, postgres_dsn: str) -> None:
    one = Instance(database)
    old = kid_of(await one.issue())
    new = await rotate(database)
    one.forget_when_it_read()
    assert kid_of(await one.issue()) == old
    await let_it_settle(postgres_dsn, old, 60)
    one.forget_when_it_read()
    assert kid_of(await one.issue()) == old
    await let_it_settle(postgres_dsn, new)
    one.forget_when_it_read()
    assert kid_of(await one.issue()) == new


async def test_a_replaced_key_ends_after_the_life_of_its_tokens(database: Database, postgres_dsn: str) -> None:
    one = Instance(database)
    before = await one.issue()
    await rotate(database)
    async with database.connection() as connection:
        left_s = await connection.fetchval(
            "SELECT extract(epoch FROM not_after - now())::float8 FROM signing_keys WHERE kid = $1", kid_of(before)
        )
    assert LIFETIME_S + KNOWN_S < left_s <= LIFETIME_S + OVERLAP_S
    await execute(postgres_dsn, "UPDATE signing_keys SET not_after = now() WHERE not_after IS NOT NULL")
    one.forget_when_it_read()
    assert not await one.believes(before)
    # The next rotation forgets it altogether, its private half too.
    await rotate(database)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM signing_keys") == 2


async def test_rotating_again_gives_no_old_key_more_time(database: Database) -> None:
    first = kid_of(await Instance(database).issue())
    await rotate(database, 100)
    await rotate(database, 10_000)
    async with database.connection() as connection:
        left_s = await connection.fetchval(
            "SELECT extract(epoch FROM not_after - now())::float8 FROM signing_keys WHERE kid = $1", first
        )
    assert left_s <= 100


async def test_without_an_overlap_all_logins_end(database: Database) -> None:
    one = Instance(database)
    before = await one.issue()
    new = await rotate(database, 0)
    one.forget_when_it_read()
    assert not await one.believes(before)
    assert kid_of(await one.issue()) == new


async def test_all_that_verify_are_published_and_nothing_of_the_private_halves(
    database: Database, postgres_dsn: str
) -> None:
    one = Instance(database)
    token = await one.issue()
    new = await rotate(database)
    one.forget_when_it_read()
    published = await one.keys.published()
    assert {jwk["kid"] for jwk in published} == {kid_of(token), new}
    assert all(set(jwk) == {"kty", "crv", "x", "kid", "alg", "use"} for jwk in published)
    known = jwt.PyJWKSet.from_dict({"keys": [dict(jwk) for jwk in published]})
    told = jwt.decode(
        token, known[kid_of(token)], ["EdDSA"], audience="gateway", options={"verify_iat": False, "verify_nbf": False}
    )
    assert told["sub"] == SOMEBODY.user_id


@pytest.mark.timeout(60)
async def test_published_keys_serve_on_while_postgres_is_away(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managing(own_postgres.dsn) as knows, managing(own_postgres.dsn) as new:
        await knows.user(EMAIL)
        await knows.told(200, "login", {"email": EMAIL, "password": PASSWORD})
        known = await knows.told(200, "jwks")
        await own_postgres.stop()
        monkeypatch.setattr(signing_keys, "KNOWN_S", 0.0)
        assert await knows.told(200, "jwks") == known
        await new.told(503, "jwks")


async def test_the_answer_may_be_cached_for_a_minute(postgres_dsn: str) -> None:
    async with managing(postgres_dsn) as asking:
        answer = await asking.ask("jwks")
        assert (answer.status, answer.caching) == (200, "public, max-age=60")
        assert json.loads(answer.body) == {"keys": []}


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def tokens_of(path: Path) -> SessionTokens:
    return SessionTokens(FileSigningKeys(path), "gateway", "gateway", LIFETIME_S)


async def test_a_key_of_a_file_is_replaced_without_ending_logins(tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    steps = [
        private_pem(old),
        private_pem(old) + private_pem(new),
        private_pem(new) + public_pem(old),
        private_pem(new),
    ]
    instances = []
    for number, content in enumerate(steps):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(content)
        instances.append(tokens_of(path))
    issued = [(await tokens.issue(SOMEBODY, NOW))[0] for tokens in instances]
    # In a rolling restart instances of neighbouring steps run side by side.
    for number in range(3):
        for tokens in instances[number : number + 2]:
            for token in issued[number : number + 2]:
                assert (await tokens.verify(token, NOW) == SOMEBODY) is (number < 2 or token != issued[0])
    assert await instances[3].verify(issued[0], NOW) is None
    assert await instances[0].verify(issued[3], NOW) is None


async def test_logins_with_a_key_of_a_file_need_no_signing_key_in_postgres(postgres_dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    path.write_bytes(private_pem(Ed25519PrivateKey.generate()))
    auth: dict[str, Any] = {
        "password_hash": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
        "signing_key_file": str(path),
    }
    async with managing(postgres_dsn, auth=auth) as one, managing(postgres_dsn, auth=auth) as other:
        ada = await one.logged_in(EMAIL)
        await replace(other, token=ada.token).told(200, "keys.list")
        published = await other.told(200, "jwks")
        assert [jwk["kid"] for jwk in published["keys"]] == [kid_of(ada.token or "")]
        async with one.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM signing_keys") == 0
