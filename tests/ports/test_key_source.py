"""Every KeySource: gives a key's record whatever its state, None for no key, and a fault for anything unclear."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.keys import NewKey, create_key, delete_key, rotate_key, set_status
from gateway.adapters.postgres.pool import Database
from gateway.core.credentials import digest
from gateway.core.keys import KeyStatus
from gateway.ports import KeySourceDown
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.keys import CreatedKey
    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.ports import KeySource


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn) as database:
        yield database


@pytest.fixture
def source(database: Database) -> KeySource:
    return PostgresKeySource(database)


async def made(database: Database, **fields: Any) -> CreatedKey:
    async with database.connection() as connection:
        account = await create_account(connection, "Acme")
        return await create_key(
            connection, NewKey(account_id=account, name="A key", scopes=("READ", "WRITE"), **fields)
        )


async def test_a_key_is_found_by_the_digest_of_its_secret(database: Database, source: KeySource) -> None:
    created = await made(database, rate_limit_per_hour=77, webhook_url="https://example.com/hook")
    record = await source.find(digest(created.key))
    assert record is not None
    assert (record.id, record.account_id) == (created.stored.id, created.stored.account_id)
    assert record.prefix == created.key[:12]
    assert record.scopes == {"READ", "WRITE"}
    assert record.rate_limit_per_hour == 77
    assert record.status is KeyStatus.ACTIVE
    assert record.webhook_url == "https://example.com/hook"
    assert (record.allowed, record.expires_at, record.retired_at, record.deleted) == (None, None, None, False)


async def test_an_unknown_digest_is_no_key(source: KeySource) -> None:
    assert await source.find(hashlib.sha256(b"nobody's").digest()) is None


@pytest.mark.parametrize("status", [KeyStatus.SUSPENDED, KeyStatus.REVOKED])
async def test_a_key_that_may_not_be_used_is_found_all_the_same(
    database: Database, source: KeySource, status: KeyStatus
) -> None:
    created = await made(database)
    async with database.connection() as connection:
        await set_status(connection, created.stored.id, status)
    record = await source.find(digest(created.key))
    assert record is not None
    assert record.status is status


async def test_a_deleted_key_is_found_as_deleted(database: Database, source: KeySource) -> None:
    created = await made(database)
    async with database.connection() as connection:
        assert await delete_key(connection, created.stored.id)
    record = await source.find(digest(created.key))
    assert record is not None
    assert record.deleted


async def test_times_are_unix_seconds(database: Database, source: KeySource) -> None:
    expires_at = datetime(2030, 1, 2, 3, 4, 5, 678_000, UTC)
    created = await made(database, expires_at=expires_at)
    record = await source.find(digest(created.key))
    assert record is not None
    assert record.expires_at == expires_at.timestamp()


async def test_networks_are_compiled_and_an_empty_list_allows_all(database: Database, source: KeySource) -> None:
    record = await source.find(digest((await made(database, allowed_ips=["203.0.113.0/24"])).key))
    assert record is not None
    assert record.allowed is not None
    assert "203.0.113.9" in record.allowed
    assert "198.51.100.1" not in record.allowed
    record = await source.find(digest((await made(database, allowed_ips=[])).key))
    assert record is not None
    assert record.allowed is None


async def test_both_secrets_of_a_rotated_key_are_found_until_one_retires(database: Database, source: KeySource) -> None:
    created = await made(database)
    async with database.connection() as connection:
        rotated = await rotate_key(connection, created.stored.id, prefix="bk_live_", grace_s=60)
    assert rotated is not None
    old, new = await source.find(digest(created.key)), await source.find(digest(rotated.key))
    assert old is not None
    assert new is not None
    assert old.id == new.id
    assert new.retired_at is None
    assert old.retired_at == pytest.approx(datetime.now(UTC).timestamp() + 60, abs=5)


async def test_an_address_list_that_cannot_be_read_is_a_fault_and_admits_nobody(
    database: Database, source: KeySource
) -> None:
    created = await made(database)
    async with database.connection() as connection:
        await connection.execute("UPDATE api_keys SET allowed_ips = '{anywhere}' WHERE id = $1", created.stored.id)
    with pytest.raises(KeySourceDown, match=created.stored.id):
        await source.find(digest(created.key))


async def test_a_store_that_refuses_is_a_fault_and_not_an_unknown_key(
    postgres_dsn: str, database: Database, source: KeySource
) -> None:
    created = await made(database)
    await execute(postgres_dsn, "ALTER TABLE key_secrets RENAME TO elsewhere")
    with pytest.raises(KeySourceDown, match="Postgres refuses to look up keys"):
        await source.find(digest(created.key))


async def test_a_store_that_is_away_is_a_fault(own_postgres: EmbeddedPostgres) -> None:
    await own_postgres.stop()
    async with Database(own_postgres.dsn) as database:
        with pytest.raises(KeySourceDown, match="cannot connect"):
            await PostgresKeySource(database).find(bytes(32))
